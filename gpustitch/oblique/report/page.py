from dataclasses import dataclass
from typing import Any
@dataclass(frozen=True)
class Shown:
    folder: Any; record: Any; run: Any; alignment: Any; flat: Any; places: Any
def page_text(shown, checks, found): return ""
