"""Train LoRA adapters on the language model of a composed model with PEFT, leaving everything else as it is.

python examples/train_adapter.py
"""

from peft import LoraConfig, get_peft_model

import facekit

model, processor = facekit.create(encoder="tiny", connector="region", backbone="tiny", seed=0)
adapted = get_peft_model(
    model,
    LoraConfig(
        r=16, lora_alpha=32, lora_dropout=0.0, target_modules=r"language_model\..*\.(q|k|v|o|gate|up|down)_proj"
    ),
)
adapted.print_trainable_parameters()
