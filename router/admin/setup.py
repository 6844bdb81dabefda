"""How the service is set up, without secrets."""

from dataclasses import dataclass

from router.admin.routes import AnyRoute, Asked, Nothing, Said, reading
from router.config.page import Row, rows
from router.config.settings import Settings


@dataclass(frozen=True, slots=True)
class SettingsTable:
    """Every setting: its path, its value here as text (secrets are stars) and where that comes from, its default, type,
    variable, and what it means."""

    settings: list[Row]


@dataclass(frozen=True, slots=True)
class SettingsRoutes:
    """The settings this router started with."""

    settings: Settings

    def routes(self) -> list[AnyRoute]:
        """Its part of the table."""
        return [reading("/settings", SettingsTable, self.all, Nothing)]

    async def all(self, asked: Asked[Nothing, Nothing]) -> Said:
        """Every setting, secrets masked."""
        return Said(SettingsTable(rows(self.settings)))
