"""The recurrent memory transformer around Hugging Face models (needs torch and transformers).

``RMTForCausalLM`` for decoders, ``RMTForSequenceClassification`` for encoders, both configured by
``RMTConfig``.
"""

from rmtscale.rmt.config import RMTConfig
from rmtscale.rmt.decoder import RMTForCausalLM
from rmtscale.rmt.encoder import RMTForSequenceClassification
from rmtscale.rmt.graph import SegmentStep
from rmtscale.rmt.outputs import RMTCausalLMOutput, RMTSequenceClassifierOutput
from rmtscale.rmt.streaming import Stream

__all__ = [
    "RMTCausalLMOutput",
    "RMTConfig",
    "RMTForCausalLM",
    "RMTForSequenceClassification",
    "RMTSequenceClassifierOutput",
    "SegmentStep",
    "Stream",
]
