"""The page of a pretrained decoder, and the trainings it is made from."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import fill

from rmtscale.report.tables import Table
from rmtscale.study.figures.figure import Figure, FigureReport, Sources
from rmtscale.study.figures.figure_8.claims import answer as answer_positions
from rmtscale.study.figures.figure_8.claims import answer_costs
from rmtscale.study.figures.figure_8.cost_quality import draw as draw_costs
from rmtscale.study.figures.figure_8.drawing import draw as draw_positions
from rmtscale.study.figures.figure_8.table import cost_table
from rmtscale.study.figures.figure_12.claims import Ways
from rmtscale.study.figures.figure_12.claims import answer as answer_curriculum
from rmtscale.study.figures.language.groups import InputSize
from rmtscale.study.figures.language.page import figure_report
from rmtscale.study.figures.language.runs import collect
from rmtscale.study.figures.pretrained_decoder.claims import (
    answer,
    answer_repeats,
    answer_sinks,
    check_claims,
    curricula,
    curriculum_claims,
    repeat_pairs,
    shown_alone,
    sink_pairs,
    ways_of,
)
from rmtscale.study.figures.pretrained_decoder.drawing import draw
from rmtscale.study.figures.pretrained_decoder.names import what_names_say
from rmtscale.study.figures.pretrained_decoder.recipes import TRAININGS
from rmtscale.study.figures.pretrained_decoder.tables import (
    curriculum_table,
    gains_tables,
    losses_tables,
    mixing_gains,
    repeats_table,
    sinks_table,
    trainings_table,
)
from rmtscale.units import format_bits_per_byte, format_tokens


def make(figure: Figure, sources: Sources) -> FigureReport:
    """Makes the page from records of a decoder with memory and without."""
    records = collect(figure, TRAININGS, sources)
    ways = ways_of(records)
    alone = shown_alone(ways)
    pairs = curricula(records, alone)
    headline, where, costs = answer(alone, ways), answer_positions(alone), answer_costs(alone)
    return figure_report(
        figure,
        sources,
        records,
        claims=[*check_claims(ways), *curriculum_claims(pairs)],
        headline=headline,
        body=_body(ways, alone, pairs, where, costs),
        drawings={
            figure.name: draw(ways, headline),
            "positions": draw_positions(alone, where),
            "cost-quality": draw_costs(alone, costs),
        },
    )


def _body(
    ways: Sequence[InputSize],
    alone: Sequence[InputSize],
    pairs: Sequence[Ways],
    where: str,
    costs: str,
) -> str:
    alike = {
        one.segment_size: [way for way in ways if way.segment_size == one.segment_size]
        for one in alone
    }
    gains = "\n\n".join(_titled(f"Input {size}", gains_tables(own)) for size, own in alike.items())
    losses = "\n\n".join(
        _titled(f"Input {size}, losses", losses_tables(own)) for size, own in alike.items()
    )
    rooms = [room for own in alike.values() if (room := _room(own))]
    room = f"{fill(' '.join(rooms), 100)}\n\n" if rooms else ""
    said = what_names_say(ways)
    named = f"\n\n{fill(f'Names of memory: {said}.', 100)}" if said else ""
    trained = [*ways, *(pair["fixed"] for pair in pairs)]
    prices = "\n\n".join(
        f"### Input {one.segment_size}, cost\n\n{cost_table(one).markdown()}" for one in alone
    )
    took = "\n\n".join(
        f"### Input {size}, trainings\n\n"
        f"{trainings_table([way for way in trained if way.segment_size == size]).markdown()}"
        for size in alike
    )
    return f"""![Change of the loss by memory, for each way to train it](pretrained-decoder.png)

All models score the same targets, at the end of a segment, and lower is better. Zero is the model
without memory: it has as many positions, with true text where memory would stand, and reads nothing
before them. Bars are 95 % intervals over documents.{named}

## Memory against no memory

Thousandths of a bit per byte above those of the same model without memory, which has as many
positions and the same weights trained for as many steps, by segments read; means over seeds, ± half
of 95 % intervals over documents.

{room}{gains}

## What is trained

As Table 1 of the paper: the same backbone with more or fewer of its weights trained, with memory
and without. Bits per byte, means over seeds, ± half of 95 % intervals over documents. The models
without memory and with true context had the same weights trained, except for the memory; where
memory alone is trained, they are the pretrained model as it was.

{losses}

{_sinks(ways)}{_repeats(ways)}{_curricula(pairs)}## Where in the block

{fill(f"**{where}.**", 100)}

![Loss by position in the block](positions.png)

## Cost and quality

{fill(f"**{costs}.**", 100)}

![Loss against FLOPs and time for each token](cost-quality.png)

Numbers beside the points are tokens of context and segments read. In a stream the history was read
when it came, so that a block costs one segment (hollow). Time is that of the evaluation, at its
batch size.

{prices}

## What the trainings took

{took}

The predictions from before the trainings, trainings of more steps, which have no like here, and the
losses of the committed checkpoints on text that is newer than their weights are in
[tried](tried/README.md)."""


def _room(ways: Sequence[InputSize]) -> str:
    """Says what memory of several sizes leaves of a segment to text before the block."""
    left = {
        way.memory_tokens: way.with_memory[0].point.segment_tokens - way.block_tokens
        for way in ways
    }
    if len(left) < 2 or ways[0].own_context is None:
        return ""
    sizes, rooms = _listed([*left]), _listed([*left.values()])
    return (
        f"At input {ways[0].segment_size}, {sizes} memory tokens leave {rooms} tokens of a "
        f"segment to text before its block, in place of the {format_tokens(ways[0].own_context)} "
        "without memory: they stand at both of its ends."
    )


def _listed(numbers: Sequence[int]) -> str:
    """Writes ``2, 10 and 32``."""
    *most, last = map(format_tokens, numbers)
    return f"{', '.join(most)} and {last}" if most else last


def _titled(title: str, tables: Sequence[Table]) -> str:
    """Writes tables below a title, each with its own."""
    each = [f"{table.title[0].upper()}{table.title[1:]}:\n\n{table.markdown()}" for table in tables]
    return "\n\n".join([f"### {title}", *each])


def _sinks(ways: Sequence[InputSize]) -> str:
    """Writes a section on sink tokens; none where no memory with one has its like without."""
    pairs = sink_pairs(ways)
    if not pairs:
        return ""
    return f"""## A sink in the memory

{fill(f"**{answer_sinks(pairs)}.**", 100)}

The first memory token keeps its trained initial value in every segment, a place for attention that
has nothing to look at (`sink_tokens` of [the RMT](../../docs/rmt.md)). All else is alike, text and
cost with it. Thousandths of a bit per byte with a sink token less those without, by segments read;
means over seeds, ± half of 95 % intervals over documents.

{sinks_table(pairs).markdown()}

"""


def _repeats(ways: Sequence[InputSize]) -> str:
    """Writes a section on repeated text; none where no memory with it has its like without."""
    pairs = repeat_pairs(ways)
    if not pairs:
        return ""
    return f"""## Repeated text in training

{fill(f"**{answer_repeats(pairs)}.**", 100)}

In a share of the training batches the last segment repeats what the one before it read, so that
only memory can tell it ([Training](../../docs/training.md#text-that-repeats)). Steps and targets
are alike, and all that is read here is ordinary text. Thousandths of a bit per byte above those of
the same memory trained on ordinary text alone, by segments read; means over seeds, ± half of 95 %
intervals over documents.

{repeats_table(pairs).markdown()}

"""


def _curricula(pairs: Sequence[Ways]) -> str:
    """Writes a section on the curriculum; none where nothing was trained both ways."""
    if not pairs:
        return ""
    answers = [
        fill(
            f"**Input {pair['mixing'].segment_size}: {answer_curriculum(pair)}{_between(pair)}.**",
            100,
        )
        for pair in pairs
    ]
    said = "\n\n".join(answers)
    return f"""## Fixed and mixed lengths in training

{said}

As Figure 12 of the paper: each stage of the curriculum has one number of segments, or each batch
one that is drawn from those of all stages so far; the same steps. Thousandths of a bit per byte of
mixed lengths less those of fixed ones, by segments read; means over seeds, ± half of 95 % intervals
over documents.

{curriculum_table(pairs).markdown()}

Only the end of a sample's last segment is scored in training. What a first segment writes is read
by a scored one at two segments alone: with fixed lengths later stages change the weights and never
score that again, with mixed lengths they go on scoring it.

"""


def _between(pair: Ways) -> str:
    """Says what mixing changes at the numbers of segments that earlier stages alone had."""
    most = pair["mixing"].most_trained or 0
    changes = [
        f"{format_bits_per_byte(gain.mean, signed=True)} at {format_tokens(count)}"
        for count, gain in mixing_gains(pair).items()
        if 1 < count < most
    ]
    return f"; of the lengths in between, by {' and '.join(changes)}" if changes else ""
