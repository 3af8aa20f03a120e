"""The file weights.bin: its layout, the decoder's matrices in it, block quantization, writing."""
