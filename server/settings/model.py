"""The model of all settings, put together from their groups.

Rule: a group's module has its fields, their defaults and their checks; here is only where the values come from.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from server.settings.access import AccessSettings
from server.settings.branding import BrandSettings
from server.settings.events import EventSettings
from server.settings.folders import FolderSettings
from server.settings.object_store import StoreSettings
from server.settings.processing import ProcessingSettings
from server.settings.retention import RetentionSettings
from server.settings.serving import ServingSettings
from server.settings.types import PREFIX
from server.settings.uploads import AcceptanceSettings, UploadSettings


# The fields of the last base come first: the groups stand here from the last to the first.
class Settings(
    BrandSettings,
    EventSettings,
    ProcessingSettings,
    RetentionSettings,
    UploadSettings,
    AcceptanceSettings,
    StoreSettings,
    FolderSettings,
    AccessSettings,
    ServingSettings,
    BaseSettings,
):
    """What an operator can choose. Sizes take bytes or a unit (`800MiB`), times are in seconds."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", validate_default=True)

    GROUPS: ClassVar[Mapping[str, str]] = {
        "host": "Serving",
        "auth": "Access",
        "data_dir": "Where things are kept",
        "store": "The store in S3",
        "accept": "What is accepted",
        "body_idle_timeout": "Uploads",
        "failed_retention": "Retention",
        "scheduler": "Processing",
        "public_url": "Webhooks and hooks",
        "brand_name": "Look of the page",
        "log_level": "Logs and traces",
    }

    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is logged.")
    log_format: Literal["auto", "json", "console"] = Field(
        "auto", description="Form of a log line: `auto` is `console` on a terminal and `json` elsewhere."
    )
    otel_endpoint: str = Field(
        "",
        pattern=r"^$|^https?://[^\s]+$",
        description="Base URL of an OpenTelemetry collector that takes OTLP by HTTP, such as `http://127.0.0.1:4318`; "
        "empty is no traces. Needs the extra `otel`; `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_SERVICE_NAME` and "
        "`OTEL_RESOURCE_ATTRIBUTES` count too.",
    )
    otel_sample: int = Field(
        100, ge=0, le=100, description="Percent of the tasks that are traced, each from its first request to its end."
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Command line, environment, TOML file."""
        file = os.environ.get(PREFIX + "CONFIG", "videodock.toml")
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, toml_file=Path(file))
