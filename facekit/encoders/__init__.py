"""Vision encoders: images or clips to patch tokens, from our own, open_clip, timm and Hugging Face models."""
