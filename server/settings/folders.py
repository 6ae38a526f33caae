"""Settings of the places of files and rows."""

from pathlib import Path

from pydantic import BaseModel, Field, field_validator


class FolderSettings(BaseModel):
    """The data folder and the database."""

    data_dir: Path = Field(Path("var"), description="Folder for uploads, results and the SQLite database.")
    database_url: str = Field(
        "",
        description="URL of the database, `sqlite:///file` or `postgresql://…`; "
        "empty is `videodock.db` in the data folder.",
    )
    database_pool_size: int = Field(
        10, ge=2, le=200, description="Connections to the database a process, and threads that use them."
    )

    @field_validator("database_url")
    @classmethod
    def _check_database(cls, value: str) -> str:
        if value.startswith(("postgresql://", "postgres://")):
            value = "postgresql+psycopg://" + value.partition("://")[2]
        if value and not value.startswith(("sqlite:///", "postgresql+psycopg://")):
            raise ValueError("a database URL starts with sqlite:/// or postgresql:// (or postgresql+psycopg://)")
        return value

    @field_validator("data_dir")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @property
    def sqlalchemy_url(self) -> str:
        """The database's URL, with the default filled in."""
        return self.database_url or f"sqlite:///{self.data_dir / 'videodock.db'}"
