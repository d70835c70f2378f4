"""How printed figures look: the experiment's style and label. Without heavy imports, so that configs can hold it."""

from dataclasses import dataclass

from utils.errors import ConfigError, nearest_name
from utils.keys import key

STYLES = ("CMS", "ATLAS", "LHCb2", "plain")


@dataclass(frozen=True)
class PdfStyle:
    """Style of the PDFs.

    Parameters
    ----------
    style : `CMS`, `ATLAS`, `LHCb2` (mplhep's) or `plain`.
    label : what follows the experiment's name, e.g. `Simulation` or `Preliminary`. Where it begins with `Private work`
        it stands alone, as CMS asks of results that are not approved. Empty for none.
    lumi : integrated luminosity in fb⁻¹, or a text; None for none.
    com : centre-of-mass energy in TeV, or a text with its unit; None for none.
    """

    style: str = key("CMS | ATLAS | LHCb2 | plain", default="CMS")
    label: str = key("text beside the experiment's name", default="Private work")
    lumi: float | str | None = key("integrated luminosity [fb^-1]", default=None)
    com: float | str | None = key("centre-of-mass energy [TeV]", default=None)

    def __post_init__(self) -> None:
        if self.style not in STYLES:
            raise ConfigError(
                f"unknown figure style '{self.style}'",
                where="style",
                nearest=nearest_name(self.style, STYLES),
                remedy=f"Choose one of {', '.join(STYLES)}.",
            )

    @property
    def experiment(self) -> str:
        """The name in front of the label."""
        if self.style == "plain" or self.label.lower().startswith("private work"):
            return ""
        return self.style.rstrip("2")
