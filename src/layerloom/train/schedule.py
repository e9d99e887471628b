"""How long to train, and how far the learning rates have fallen."""

CHECKS = 40
"""How often in `steps` the gain is looked at."""
FIRST_CHECK = 4
"""Before this one the losses of the beginning are still active."""


class Schedule:
    """Rates stay for a while, then fall exponentially to `final_share` of what they were, which ends the training.

    They begin to fall at `decay_from` of `steps`, or before: as soon as doubling the steps has gained less than
    `patience_db`. The fall keeps its share of the whole, so what is learned fast ends early.
    """

    def __init__(self, steps: int, decay_from: float, final_share: float, patience_db: float) -> None:
        self.steps, self.window = steps, max(1, steps // CHECKS)
        self.psnr_db: list[float] = []
        self._longest, self._decay_from, self._final_share = steps, decay_from, final_share
        self._patience_db = patience_db

    def is_watching(self, step: int) -> bool:
        """Whether the window of steps that ends here is to be noted: rates have not begun to fall."""
        return self._patience_db > 0 and step % self.window == 0 and step <= self._decay_from * self.steps

    def note(self, psnr_db: float) -> None:
        """What was reached in the next window of steps; once it gains too little, `steps` shrinks."""
        self.psnr_db.append(psnr_db)
        windows = len(self.psnr_db)
        if windows < FIRST_CHECK or windows % 2 or self.steps < self._longest:
            return
        if psnr_db - self.psnr_db[windows // 2 - 1] < self._patience_db:
            self.steps = min(self._longest, round(windows * self.window / self._decay_from))

    def share_of_rates(self, step: int) -> float:
        """What the rates are multiplied by."""
        fallen = max(0.0, step / self.steps - self._decay_from) / (1 - self._decay_from)
        return self._final_share**fallen
