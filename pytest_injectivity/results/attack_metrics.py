"""What is said of an attacker's answers beside how many are right (SPEC section 5)."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TextMatch:
    """How near the text of an attacker's answers is to the prompts'.

    Attributes:
        rouge_l: ROUGE-L of a prompt, on average; None where no prompt has words.
        bleu: BLEU-4 of all prompts together, at most 1; None: not measured.
        no_bleu: why there is no BLEU-4; empty where there is.
    """

    rouge_l: float | None
    bleu: float | None
    no_bleu: str = ""

    def __str__(self) -> str:
        named = {"ROUGE-L": self.rouge_l, "BLEU-4": self.bleu}
        return ", ".join(
            f"{name} {value:.2f}" for name, value in named.items() if value is not None
        )
