"""TensorRT and TensorRT-RTX behind the protocol of all engines; one job a file.

`api` names every call that is made to the libraries, `library` loads one, `presence` says whether it can run here,
`building` makes a plan from an ONNX file, `plan_cache` keeps it, `gpu` holds CUDA's context, `runner` runs batches,
`engine` puts them together, `selftest` compares the result with ONNX Runtime on the user's GPU.
"""
