"""A layer as the inspector of TensorRT 8.6 writes it."""

CONV_86 = {
    "Name": "Conv_0 + Relu_1",
    "LayerType": "CaskConvolution",
    "Inputs": [{"Name": "x", "Location": "Device", "Dimensions": [1, 4, 224, 224],
                "Format/Datatype": "Channel major FP16 format where channel % 4 == 0"}],
    "Outputs": [{"Name": "y", "Location": "Device", "Dimensions": [1, 64, 112, 112],
                 "Format/Datatype": "Channel major FP16 format where channel % 8 == 0"}],
    "ParameterType": "Convolution",
    "TacticName": "sm80_xmma_fprop_implicit_gemm_indexed_wo_smem_f16f16_f16f16_f16_nhwckrsc_nhwc",
    "TacticValue": "0x0a",
    "StreamId": 0,
    "Metadata": "[ONNX Layer: Conv_0]\x1e[ONNX Layer: Relu_1]",
}  # fmt: skip
