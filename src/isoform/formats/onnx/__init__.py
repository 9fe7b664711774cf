# SPDX-License-Identifier: Apache-2.0
"""ONNX files: `read.read_onnx` and `write.write_onnx`."""
