"""TensorRT and TensorRT-RTX behind the common engine interface.

`api` declares every library call in use, `library` loads a library, `availability` checks whether it can run here,
`building` builds a plan from an ONNX file, `plan_cache` stores it, `loading` loads it, `contexts` creates its contexts,
`gpu` manages CUDA's context, `runner` runs batches, and `engine` combines them. For stateful networks, `device_buffers`
is each camera's memory on the GPU, `stateful_runner` runs them on it, and `stateful` combines them. `selftest` and
`selftest_stateful` compare the results with ONNX Runtime on the user's GPU.
"""
