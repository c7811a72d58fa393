"""The recurrent memory transformer around Hugging Face models (needs torch and transformers).

``RMTForCausalLM`` for decoders, ``RMTForSequenceClassification`` for encoders, both configured by
``RMTConfig``. Where this is imported, the ``Auto`` classes of Transformers know them too.
"""

from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from rmtscale.rmt.config import RMTConfig
from rmtscale.rmt.decoder import RMTForCausalLM
from rmtscale.rmt.encoder import RMTForSequenceClassification
from rmtscale.rmt.graph import SegmentStep
from rmtscale.rmt.outputs import (
    RMTCausalLMOutput,
    RMTGenerateOutput,
    RMTSequenceClassifierOutput,
)
from rmtscale.rmt.sharding import shard
from rmtscale.rmt.streaming import Stream

__all__ = [
    "RMTCausalLMOutput",
    "RMTConfig",
    "RMTForCausalLM",
    "RMTForSequenceClassification",
    "RMTGenerateOutput",
    "RMTSequenceClassifierOutput",
    "SegmentStep",
    "Stream",
    "shard",
]

AutoConfig.register(RMTConfig.model_type, RMTConfig, exist_ok=True)
AutoModelForCausalLM.register(RMTConfig, RMTForCausalLM, exist_ok=True)
AutoModelForSequenceClassification.register(RMTConfig, RMTForSequenceClassification, exist_ok=True)
# Where the trainer looks up whether its label smoothing has to shift the labels.
MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[RMTConfig.model_type] = RMTForCausalLM.__name__
