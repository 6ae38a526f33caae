"""Settings of retention: when originals, results and rows are deleted."""

from pydantic import BaseModel, Field


class RetentionSettings(BaseModel):
    """Seconds after which originals, results and rows are deleted."""

    failed_retention: int = Field(
        30 * 86400,
        ge=0,
        description="Seconds after the end of a failed or cancelled task, or of a failed file, at which its originals "
        "are removed; 0 is never.",
    )
    original_retention: int = Field(
        0, ge=0, description="Seconds after the end of its task at which an original is removed; 0 is never."
    )
    result_retention: int = Field(
        0,
        ge=0,
        description="Seconds after the end of a task at which the results of its videos are removed; 0 is never.",
    )
    quarantine_retention: int = Field(
        30 * 86400,
        ge=0,
        description="Seconds after the end of its task at which a file in quarantine is removed; 0 is never.",
    )
    event_retention: int = Field(
        90 * 86400, ge=0, description="Seconds after which events of tasks that have ended are removed; 0 is never."
    )
    row_retention: int = Field(
        0,
        ge=0,
        description="Seconds after which rows of tasks and uploads that have ended are removed, once none of "
        "their files is on the disk; reports count these rows. 0 is never.",
    )
