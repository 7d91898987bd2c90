"""Image or video to patch tokens: one interface over our own, open_clip, timm and Hugging Face vision models."""
