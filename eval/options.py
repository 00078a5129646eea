"""What the command lines of `eval` share: the scoring protocol, errors in one form, the last line."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from eval.tasks import TASK_MODULES, Switch, TaskModule, protocol_of, task_module
from rsunivlm.tasks import Task

PROTOCOLS = ("strict", "paper")


class Parser(argparse.ArgumentParser):
    """Argument errors in the same form as all others: one line, exit code 2."""

    def error(self, message: str) -> NoReturn:
        """Print the message and leave."""
        self.exit(2, f"error: {message}\n")


def run_command(
    parser: argparse.ArgumentParser,
    argv: Sequence[str] | None,
    work: Callable[[argparse.Namespace], dict[str, Any] | None],
) -> int:
    """Run a command line: what `work` returns is printed as the last line, in JSON.

    Returns:
        0 on success, 2 with one line on stderr when the input is bad.
    """
    args = parser.parse_args(argv)
    try:
        last = work(args)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if last is not None:
        print(json.dumps(last))
    return 0


def add_protocol_options(parser: argparse.ArgumentParser, *tasks: Task) -> None:
    """Add ``--protocol`` and the switches of tasks; a switch that is not named takes the protocol's value."""
    parser.add_argument("--protocol", choices=PROTOCOLS, default="strict", help="set of switches")
    users: dict[str, dict[Task, Switch]] = {}  # tasks may share a switch, and differ in its values
    for task in tasks:
        for switch in task_module(task)[1].SWITCHES:
            users.setdefault(switch.name, {})[task] = switch
    group = parser.add_argument_group("switches of the protocol")
    for name, mine in users.items():
        option = f"--{name.replace('_', '-')}"
        tasks_of = {switch: [task for task in mine if mine[task] == switch] for switch in mine.values()}
        text = "; ".join(
            f"{', '.join(names)}: {switch.help} (strict: {switch.strict}, paper: {switch.paper})"
            for switch, names in tasks_of.items()
        )
        choices = tuple(dict.fromkeys(value for switch in mine.values() for value in switch.choices))
        if choices:
            group.add_argument(option, dest=name, choices=choices, default=None, help=text)
        else:
            group.add_argument(
                option, dest=name, action=argparse.BooleanOptionalAction, default=None, help=text
            )


def given_switches(args: argparse.Namespace) -> dict[str, Any]:
    """The switches that the command line names."""
    names = {switch.name for task in TASK_MODULES for switch in task_module(task)[1].SWITCHES}
    return {name: value for name in sorted(names) if (value := getattr(args, name, None)) is not None}


def given_protocol(args: argparse.Namespace, module: TaskModule) -> dict[str, Any]:
    """The protocol that the command line asks for, of one task.

    Raises:
        ValueError: a given switch does not apply to the task.
    """
    return protocol_of(module, args.protocol, given_switches(args))
