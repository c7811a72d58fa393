"""The parser: which command, no option of nothing, and help in panels where there are many."""

from __future__ import annotations

import difflib
import inspect
from typing import Any, get_type_hints

from typer.core import TyperCommand, TyperGroup

from rmtscale.cli.given import running
from rmtscale.errors import BadInput, quoted_list

_MANY = 12
"""Options from which on a command's help is in panels."""
PANELS = {
    "Model and input": "model tokens context new_tokens method methods mode batch_size checkpoint "
    "task text tokenizer backbone background segments block_tokens init_from",
    "RMT": "segment_size memory_tokens sink_tokens bptt_segments checkpoint_segments cuda_graph "
    "compile_step capture burn_in mixing curriculum",
    "Precision, training and memory": "dtype precision weights kv_dtype attention optimizer "
    "dropout logits checkpoint_layers prefill_chunk accumulate adapter adapter_rank "
    "adapter_targets adapter_width lora_rank offload_optimizer host_memory "
    "learning_rate steps setting option",
    "Device": "device reserve memory_limit predict_for calibration gpu_utilization",
    "Many GPUs": "gpus gpus_per_node interconnect layout shard tp state_by_state",
    "Many workers": "part shared on slurm",
    "Measuring and resuming": "warmup_steps repeats timeout_seconds order seed retry max_seconds "
    "finish_within cache preset recipe",
    "Output": "out dry_run force output_format breakdown convention",
}
"""Panels, and the parameters in each; what is in none stays under "Options"."""
_PANEL_OF = {name: panel for panel, names in PANELS.items() for name in names.split()}


class Commands(TyperGroup):
    """All commands; it says itself which one a mistyped name is near to.

    Both of the libraries below may add a hint to their message, or neither, by their versions.
    """

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Finds the command that the line names.

        Raises:
            BadInput: there is none of that name.
        """
        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0][:80], self.commands)
            hint = f"did you mean {quoted_list(near)}? " if near else ""
            expected = ", ".join(self.commands)
            raise BadInput(f"command {args[0]!r}: {hint}expected one of {expected}")
        return super().resolve_command(ctx, args)


class PanelCommand(TyperCommand):
    """A command that refuses empty values, and whose help has panels where it has many options."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parses a line, in which no value may be empty: an unset variable of a shell is no name.

        Raises:
            BadInput: an option or an argument of nothing but space.
        """
        given, _, _ = self.make_parser(ctx).parse_args(args=list(args))
        names = {param.name: param.opts[0] for param in self.params}
        for name, found in given.items():
            for value in found if isinstance(found, list | tuple) else (found,):
                if isinstance(value, str) and not value.strip():
                    what = names.get(name, name)
                    what = what if what.startswith("-") else what.upper()
                    raise BadInput(f"{what} {value!r}: expected a value, or none of this")
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Runs the command; what refuses an option can name it as it was typed."""
        with running(ctx):
            return super().invoke(ctx)

    def describe_arguments(self) -> None:
        """Gives arguments the help of their annotations, which the newest click forgets."""
        function: Any = self.callback
        hints = get_type_hints(inspect.unwrap(function), include_extras=True)
        for param in self.params:
            if param.param_type_name == "argument" and not getattr(param, "help", None):
                described = getattr(hints.get(param.name or ""), "__metadata__", ())
                param.help = next((each.help for each in described), None)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Lays the help out, only now that it is asked for, and writes it."""
        self.describe_arguments()
        options = [param for param in self.params if param.param_type_name == "option"]
        if len(options) >= _MANY:
            for param in options:
                if param.name in _PANEL_OF:
                    param.rich_help_panel = _PANEL_OF[param.name]  # type: ignore[attr-defined]
        order = [*PANELS, None]
        self.params.sort(key=lambda param: order.index(getattr(param, "rich_help_panel", None)))
        super().format_help(ctx, formatter)
