"""Flags that a model brings: its conditions and its domain's options, without importing torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

import click
from pydantic import BaseModel
from pydantic.fields import FieldInfo

if TYPE_CHECKING:
    from polydiff.conditions import ConditionSet
    from polydiff.domain import Domain
    from polydiff.models.refs import ModelFolder

CONDITION, OPTION = "condition_", "option_"


class ModelCommand(click.Command):
    """A command whose first argument is a model, which decides what other flags there are.

    The callback gets the model as a `ModelFolder`, so that the manifest is read once a command, and two
    dictionaries, `conditions` and the domain's `options`.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ref = _first_argument(args, self.params)
        source = _value_of("--from", args) if ref is None else None
        if source is not None:  # the file says of which domain it is
            from polydiff.models.refs import domain_of

            ref = domain_of(source)
            args = [ref, *args]
        if ref is not None:
            taken = {*ctx.help_option_names, *(flag for param in self.params for flag in param.opts)}
            found, kind, conditions = _described(ref)
            ctx.meta["model"] = found
            ctx.meta["model_flags"] = model_flags(kind, conditions, taken)
        return super().parse_args(ctx, args)

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        return [*super().get_params(ctx), *ctx.meta.get("model_flags", [])]

    def invoke(self, ctx: click.Context) -> Any:
        for group, prefix in (("conditions", CONDITION), ("options", OPTION)):
            mine = {k: v for k, v in ctx.params.items() if k.startswith(prefix)}
            given = {k.removeprefix(prefix): v for k, v in mine.items() if v not in (None, ())}
            ctx.params = {k: v for k, v in ctx.params.items() if k not in mine}
            ctx.params[group] = given
        found = ctx.meta.get("model")
        if found is None or found.ref != ctx.params["model"]:  # click took another word for the model
            from polydiff.models.refs import find_model

            found = find_model(ctx.params["model"])
        ctx.params["model"] = found
        return super().invoke(ctx)


def _first_argument(args: Sequence[str], params: Sequence[click.Parameter]) -> str | None:
    """The first word that is neither a flag nor a flag's value; an unknown flag is taken to have one."""
    switches = [param for param in params if isinstance(param, click.Option) and param.is_flag]
    valueless = {
        "--help",
        "-h",
        *(flag for param in switches for flag in (*param.opts, *param.secondary_opts)),
    }
    skip = False
    for word in args:
        if skip:
            skip = False
        elif word == "--":
            continue
        elif word.startswith("-") and word != "-":
            short_with_value = not word.startswith("--") and len(word) > 2
            skip = "=" not in word and not short_with_value and word not in valueless
        else:
            return word
    return None


def _value_of(flag: str, args: Sequence[str]) -> str | None:
    """The value of a flag on the command line, written as `--flag value` or `--flag=value`.

    >>> _value_of("--from", ["-n", "2", "--from", "a.wav"]), _value_of("--from", ["--from=a.wav"])
    ('a.wav', 'a.wav')
    """
    for word, following in zip(args, [*args[1:], None], strict=True):
        if word == flag:
            return following
        if word.startswith(f"{flag}="):
            return word.partition("=")[2]
    return None


def model_flags(kind: type[Domain], conditions: ConditionSet, taken: set[str]) -> list[click.Option]:
    """One flag a condition and one an option of the domain. A flag that is taken gets a prefix."""
    flags = []
    for condition in conditions:
        option = condition.option()
        flag = _free(condition.name, taken, "--condition-")
        text = f"{option.help} Repeat it for several samples in turn."
        flags.append(
            click.Option(
                [flag, CONDITION + condition.name],
                type=option.type,
                multiple=True,
                help=text,
                metavar=option.metavar,
            )
        )
    fields = kind.Options.model_fields
    return flags + [option_flag(name, field, taken) for name, field in fields.items()]


def _described(ref: str) -> tuple[ModelFolder | None, type[Domain], ConditionSet]:
    """A model, its domain and its conditions. The model is None for a domain whose plugin ships none: the
    help page is then for those who train one."""
    from polydiff.conditions import ConditionSet
    from polydiff.models.refs import find_model
    from polydiff.plugins.registry import get_registry

    registry = get_registry()
    if ref in {info.name for info in registry.domains()} and not registry.presets(ref):
        untrained: type[Domain] = registry.domain(ref)
        return None, untrained, untrained().conditions()
    found = find_model(ref)
    kind: type[Domain] = registry.domain(found.manifest.domain)
    return found, kind, ConditionSet.model_validate(found.manifest.conditions)


def option_flag(name: str, field: FieldInfo, taken: set[str]) -> click.Option:
    """The flag of one field of a domain's Options; values are checked later, all together, by pydantic."""
    flag = _free(name, taken, "--option-")
    if bool in (field.annotation, *get_args(field.annotation)):
        decls = [f"{flag}/--no-{flag.removeprefix('--')}", OPTION + name]
        return click.Option(decls, default=None, help=field.description)
    return click.Option([flag, OPTION + name], type=str, help=field.description, metavar=_metavar(field))


def _free(name: str, taken: set[str], prefix: str) -> str:
    flag = "--" + name.replace("_", "-")
    flag = flag if flag not in taken else prefix + flag.removeprefix("--")
    taken.add(flag)
    return flag


def _metavar(field: FieldInfo) -> str:
    for kind in (field.annotation, *get_args(field.annotation)):
        if get_origin(kind) is Literal:
            return "[" + "|".join(map(str, get_args(kind))) + "]"
        if kind in (int, float):
            return "NUMBER"
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return "JSON"
    return "TEXT"
