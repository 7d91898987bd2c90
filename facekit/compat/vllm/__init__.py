"""vLLM's interface for models from outside: base classes for a composed model and for what prepares its media.

``model`` and ``processing`` import vLLM and are imported by it alone; here is what its plugin hook calls, which imports
neither torch nor a model.
"""

from __future__ import annotations


def announce(architecture: str, model: str, model_type: str, configuration: str) -> None:
    """Make an architecture and its configuration known to vLLM, which imports them where a checkpoint asks for them.

    Args:
        architecture: As ``config.json`` names it.
        model: Where its class is, ``package.module:Class``.
        model_type: As ``config.json`` names it.
        configuration: Where its class is, ``package.module:Class``.

    Seen: vLLM 0.32.
    Why: the public way to know a configuration is ``AutoConfig.register``, which takes a class: every process of vLLM
        that serves another model would import ours. vLLM's own configurations are imported by name when they are used.
    Until: vLLM takes the import path of a configuration as it takes that of a model.
    """
    from vllm.model_executor.models import ModelRegistry
    from vllm.transformers_utils import config, configs

    module, _, name = configuration.partition(":")
    configs._CLASS_TO_MODULE[name] = module
    config._CONFIG_REGISTRY[model_type] = name
    ModelRegistry.register_model(architecture, model)
