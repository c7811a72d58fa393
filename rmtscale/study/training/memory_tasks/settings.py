"""Settings of a training on a memory task: everything it depends on, each default justified."""

from __future__ import annotations

from dataclasses import dataclass, field

from rmtscale.errors import BadInput
from rmtscale.limits import MOST_SEGMENTS, MOST_TOKEN_ID
from rmtscale.study.training.backbone import INITIALIZER_RANGE
from rmtscale.study.training.settings import LoopSettings, require_share
from rmtscale.units import require_not_negative, require_positive


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryTaskSettings(LoopSettings):
    """Holds a training of a memory task. Two with the same settings have the same losses."""

    task: str = "memorize"
    task_options: dict[str, object] = field(default_factory=dict)
    """Options of ``make_task``: persons, distractors, where facts stand."""
    background: str = "python"
    """Source of the noise; this one needs no download."""
    noise_repeats: bool = True
    """Whether an input may hold the same noise twice; without, it must not be longer than the text
    there is."""
    fact_fragments: float = 0.0
    """Fragments of facts per token of training noise: "to the kitchen", "John went to the".
    Without them, text that could be taken for a fact is too rare to learn from."""
    vocabulary_words: int = 2000
    """Words with an id of their own; the rest of the noise is one unknown word. Small, because at
    width 192 a row more is as dear as in a large model and no task needs the words of the noise."""

    backbone: str = "gpt-neox-small"
    """Rotary and causal: learned positions with a [CLS] read-out do not learn reasoning from
    random initialisation."""
    initializer_range: float = INITIALIZER_RANGE
    """Standard deviation of weights that are drawn anew."""
    segment_size: int = 512
    """The paper's."""
    memory_tokens: int = 4
    """The paper has 10; from random initialisation fewer are steadier, and a decoder holds them
    twice: 4 leave 504 tokens of text, more than the paper's 499."""

    start_tokens: tuple[int, ...] = (26, 40, 64, 128, 256)
    """Text tokens of the stages inside one segment: nothing is learned from a full segment of
    noise that is not learned faster from almost none. What is as long as a segment, or longer, is
    the stage of one segment, which follows."""
    bare_tokens: tuple[int, ...] = ()
    """Text tokens of the stages before these, without any noise: stories alone, behind padding. At
    most what a segment holds."""
    between_share: float = 0.0
    """BABILong: share of the batches without a burn-in that ask among the facts too, each answer
    with its own loss: of two persons, both asked for, a toy learned the places in 750 steps, and
    with one question a story not in 2,500 (docs/training.md)."""
    closing_questions: int = 0
    """BABILong: so many things more are asked after a burn-in, one after the other before the last
    question, each answer with its own loss, in ``between_share`` of these batches. One answer says
    of one thing only whether the memory has kept it, and after a burn-in few facts are left to ask
    among."""
    rare_share: float = 0.0
    """BABILong's qa2 and qa3: share of the training stories, as far as such fit, that have come to
    something rare: to an object that was left behind, or carried on more than once. Most of what is
    lost with a dead band is lost there (reports/babilong/tried). What is rare comes first among the
    closing questions, and validations have no such share."""
    late_facts: int = 0
    """BABILong, in batches with a burn-in: the last of a story's facts, 0 to so many of them, each
    number as likely, stand in the segments with a gradient, the others in the burn-in. Where all
    are spread alike, one in 34 behind a burn-in of 100 stands in those 3: to write a fact that is
    alone into a memory that has settled is hardly learned."""
    burn_in_dead_band: float = 0.0
    """Dead band with which burn-ins are read: the segments with a gradient, which have none, begin
    with such states as an evaluation with that band has. Validations are plain."""
    memory_noise: float = 0.0
    """Largest standard deviation of normal noise on each number of the state that a burn-in leaves;
    every sample draws its own between 0 and this. Noise stands in for the drift of thousands of
    segments, which no training can read. In one run each of qa2 and qa3 it neither helped nor hurt
    (reports/babilong/tried)."""
    contrast_first: bool = True
    """Reasoning: the first stage has only stories whose two facts are about the same place, asked
    in the form that repeats one of them: nothing but the direction tells them apart. Among all
    stories a model guesses at these, and stays at 87.5 % for thousands of steps."""
    contrast_share: float = 0.0
    """Share of the batches, in every stage, that have such stories only. Of all stories they are a
    quarter, and where both facts stand in one segment that is not the last, nothing else is lost:
    an encoder wrote both places and not which was where."""
    told_weight: float = 0.0
    """Weight of a second loss, in batches without a burn-in: after every segment a linear head on
    all memory tokens tells what has been read until then. An answer teaches what to write only
    through what reads it; this teaches the writer alone. Of tasks whose facts are placed in no
    order, and all stay true, it tells which facts; of BABILong's qa1, qa2 and qa3 where every
    person and every object is. It is reported apart from the loss of the answers. The head is in no
    checkpoint."""
    threshold: float = 0.985
    """Accuracy on the current stage, over one interval, that ends it."""
    stage_min_steps: int = 100
    """A stage lasts at least this long, so that EMA weights have seen it."""
    stage_max_steps: int = 5000
    """And at most this long, learned or not."""
    current_stage_share: float = 0.7
    """Share of the batches; the others are of an earlier stage, to keep short inputs in mind.
    1 is the paper's fixed length per stage."""
    last_stage_steps: int | None = None
    """The last stage lasts this long, counted from its beginning, and then the training ends;
    ``steps`` is the most of all stages. None: the last stage has what the others left of ``steps``,
    which is little where they were slow."""
    burn_in: tuple[int, ...] = (16, 64, 256)
    """Stages after the last: up to so many segments run before, without a gradient. Training on 7
    segments teaches to keep a fact for 7; this teaches to keep it."""
    burn_in_max_steps: int = 1200
    """Each of these stages lasts at most this long; then the next, longer ones come anyway."""
    replay_lost: bool = False
    """Begin the gradient after a burn-in with the segment that lost the sample's answer, where one
    did: what is already lost teaches nothing, and what loses it is rarely in the last segments."""
    replay_asks_segment: bool = False
    """Ask whether an answer is lost at the end of the input's last segment, as in training, and not
    with the bare question: of 93 samples of Reasoning that knew the answer after 32 segments the
    bare one called 5 lost (reports/figure-5/tried)."""
    merge_lora: bool = False
    """Read burn-ins and validations with LoRA merged into the weights, as
    ``evaluate --merge-lora`` does: faster, and the same but for rounding."""
    burn_in_share: float = 0.5
    """Share of the batches of these stages that have a burn-in."""

    whole_vocabulary: bool = False
    """Decoders: the loss is over all words, not over the answers alone, so that the answer is also
    what ``generate`` writes."""
    short_batch: int = 4
    """Times as large as that are batches of inputs inside one segment, as far as they hold no more
    text than a batch of whole segments: they leave a GPU idle, and gradients are less noisy."""

    def __post_init__(self) -> None:
        LoopSettings.__post_init__(self)
        for name in ("vocabulary_words", "short_batch", "stage_max_steps", "burn_in_max_steps"):
            require_positive(name.replace("_", " "), getattr(self, name), MOST_TOKEN_ID)
        if not 0 < self.initializer_range <= 1:
            raise BadInput(
                f"initializer range {self.initializer_range!r}: expected more than 0, at most 1"
            )
        for name in ("start_tokens", "bare_tokens", "burn_in"):
            for value in getattr(self, name):
                require_positive(name.replace("_", " "), value, MOST_SEGMENTS)
        if self.last_stage_steps is not None:
            require_positive("last stage steps", self.last_stage_steps, MOST_TOKEN_ID)
        self._require_burn_ins()
        require_not_negative("told weight", self.told_weight)
        if self.told_weight and not self.memory_tokens:
            raise BadInput(f"told weight {self.told_weight!r} without memory tokens: expected 0")
        if self.merge_lora and self.lora_rank is None:
            raise BadInput("merge LoRA without a lora rank: expected both or neither")
        for name in (
            "threshold",
            "current_stage_share",
            "burn_in_share",
            "fact_fragments",
            "contrast_share",
            "between_share",
            "rare_share",
        ):
            require_share(name, getattr(self, name))

    def _require_burn_ins(self) -> None:
        """Raises ``BadInput`` where what belongs to burn-ins is no number for it, or has none."""
        for name in ("closing_questions", "late_facts"):
            if not 0 <= getattr(self, name) <= MOST_TOKEN_ID:
                shown = name.replace("_", " ")
                raise BadInput(f"{shown} {getattr(self, name)}: expected 0 or more")
        if not 0 <= self.memory_noise <= 1:
            raise BadInput(f"memory noise {self.memory_noise!r}: expected 0 to 1")
        require_not_negative("burn-in dead band", self.burn_in_dead_band)
        if self.burn_in_dead_band and not self.memory_tokens:
            raise BadInput(
                f"burn-in dead band {self.burn_in_dead_band!r} without memory tokens: expected 0"
            )
        for shown, value, why in (
            ("memory noise", self.memory_noise, "the noise is on the state that a burn-in leaves"),
            ("late facts", self.late_facts, "all facts stand where there is a gradient"),
            ("burn-in dead band", self.burn_in_dead_band, "it is that of a burn-in"),
        ):
            if value and not self.burn_in:
                raise BadInput(f"{shown} {value!r} without burn-in: expected 0, {why}")
        if self.closing_questions and self.replay_lost:
            raise BadInput(
                f"closing questions {self.closing_questions} with replay lost: expected one of "
                "them, what is replayed leaves facts out that they ask for"
            )
        if self.replay_lost and self.burn_in and self.segments < 2:
            raise BadInput(
                f"replay lost with {self.segments} segment: expected 2 or more, the segment that "
                "lost an answer is read again before the last one"
            )
        if self.replay_asks_segment and not self.replay_lost:
            raise BadInput("replay asks segment without replay lost: expected both or neither")

    @property
    def own_last_steps(self) -> int | None:
        return self.last_stage_steps

    def batch_size_of(self, tokens: int, segment_tokens: int) -> int:
        """Counts the samples in a batch of inputs of ``tokens``."""
        return self.batch_size * max(1, min(self.short_batch, segment_tokens // tokens))
