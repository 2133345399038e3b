"""TensorRT and TensorRT-RTX behind the protocol of all engines; one job a file.

`api` names every call that is made to the libraries, `library` loads one, `availability` says whether it can run here,
`building` makes a plan from an ONNX file, `plan_cache` keeps it, `loading` loads it, `contexts` makes its contexts,
`gpu` holds CUDA's context, `runner` runs batches, `engine` puts them together. For networks that carry state
`device_lines` is each camera's memory on the GPU, `stateful_runner` runs them on it, `carrying` puts them together.
`selftest` and `selftest_stateful` compare the results with ONNX Runtime on the user's GPU.
"""
