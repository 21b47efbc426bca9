"""Settings of the server: one definition gives the flag, the `DCGAN_*` variable, the file and the README's table.

A flag wins over a variable, a variable over the file, the file over the default. They are read once, checked, and
then frozen. What is unknown stops the program: a typing error must not fail at the first overload.
"""

import argparse
import difflib
import os
import re
from pathlib import Path
from typing import Final, Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from dcgan.errors import SettingsError

_PREFIX: Final = "DCGAN_"
_FILE_VARIABLE: Final = "DCGAN_CONFIG"
_SERVICE_LINK: Final = re.compile(rf"{_PREFIX}(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)")


class Settings(BaseSettings):
    """What an operator may set; `dcgan serve` without any serves the bundled model to this machine."""

    model_config = SettingsConfigDict(env_prefix=_PREFIX, frozen=True, extra="forbid")

    model: str = Field(
        "fashion",
        description="Model bundle: a directory, or the name of a shipped one; or a directory of versions, watched.",
    )
    device: Literal["auto", "cuda", "cpu"] = Field(
        "auto", description="cuda refuses to start without a GPU; auto takes one where it finds it."
    )
    variant: Literal["float32", "int8", "float16"] = Field(
        "float32",
        description="Form of the generator that draws: int8 for CPUs, float16 for CUDA; the same in all replicas.",
    )
    host: str = Field("127.0.0.1", description="Address to listen on, gRPC and metrics; 0.0.0.0 in a container.")
    port: int = Field(50051, ge=0, le=65535, description="Port of gRPC; 0 takes a free one.")
    metrics_port: int = Field(9464, ge=0, le=65535, description="Port of /metrics over HTTP; 0 takes a free one.")
    max_queued_rows: int = Field(
        4096, ge=1, le=1_000_000, description="Images that may wait for the device; a call beyond them is refused."
    )
    default_deadline_s: float = Field(
        60.0, gt=0, le=3600, description="Seconds that a unary call without a deadline of its own gets."
    )
    drain_delay_s: float = Field(
        5.0, ge=0, le=600, description="Seconds served on after SIGTERM, while load balancers take notice."
    )
    drain_grace_s: float = Field(
        20.0, ge=0, le=600, description="Seconds that running calls then get; a pod's grace must exceed both."
    )
    max_connection_age_s: float = Field(
        600.0, ge=1, le=86400, description="Seconds after which a connection is renewed, so that clients spread."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least severe level logged.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # the library's signature
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Orders the sources: flags, variables, file."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds a flag for every setting, `--max-queued-rows` for `max_queued_rows`, and `--config` for the file."""
    parser.add_argument("--config", metavar="FILE", help=f"TOML file with settings. Variable: {_FILE_VARIABLE}")
    for name, field in Settings.model_fields.items():
        variable = f"{_PREFIX}{name.upper()}"
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            dest=name,
            default=argparse.SUPPRESS,
            metavar=name.rsplit("_", 1)[-1].upper(),
            help=f"{field.description} Default: {field.default}. Variable: {variable}",
        )


def settings_from(arguments: argparse.Namespace) -> Settings:
    """Reads the settings from the flags that were given, the environment, the file and the defaults.

    Raises:
        SettingsError: a setting is unknown or its value not allowed; says which, and what is allowed.
    """
    _forget_service_links()
    _refuse_unknown_variables()
    file = arguments.config or os.environ.get(_FILE_VARIABLE)
    if file is not None and not Path(file).is_file():
        raise SettingsError(f"--config {file}: there is no such file")

    class FromFile(Settings):
        model_config = SettingsConfigDict(toml_file=file)

    given = {name: value for name, value in vars(arguments).items() if name in Settings.model_fields}
    try:
        return FromFile(**given)
    except ValidationError as error:
        problems = [(".".join(map(str, problem["loc"])), problem) for problem in error.errors()]
        raise SettingsError(
            "; ".join(f"{where} is {problem['input']!r}: {problem['msg']}" for where, problem in problems)
        ) from None
    except ValueError as error:  # the file is no TOML
        raise SettingsError(f"--config {file}: {error}") from None


def table() -> str:
    """Writes the settings as a Markdown table, for the README."""
    rows = [
        f"| `--{name.replace('_', '-')}` | `{field.default}` | {field.description} |"
        for name, field in Settings.model_fields.items()
    ]
    return "\n".join(["| setting | default | what it does |", "| --- | --- | --- |", *rows])


def _forget_service_links() -> None:
    """Drops the variables that Kubernetes injects beside a Service called `dcgan`, DCGAN_PORT=tcp://... among them."""
    for variable, value in list(os.environ.items()):
        address = variable.startswith(_PREFIX) and re.match(r"(tcp|udp|sctp)://", value)
        if address or _SERVICE_LINK.fullmatch(variable):
            del os.environ[variable]


def _refuse_unknown_variables() -> None:
    known = [_FILE_VARIABLE, *(f"{_PREFIX}{name.upper()}" for name in Settings.model_fields)]
    for variable in os.environ:
        if variable.startswith(_PREFIX) and variable not in known:
            near = difflib.get_close_matches(variable, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
            raise SettingsError(f"{variable} is no setting; {hint}")
