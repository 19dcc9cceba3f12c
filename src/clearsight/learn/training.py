"""How networks are trained: what a user may decide, the same words for every deep family."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from clearsight.core.config import Config


class Choice(Config):
    """One file of a registry by its key, and its options; a bare key is enough.

    Args:
        name: key, for example "focal".
        options: its configuration, for example {"gamma": 1.5}.

    Example:
        >>> Choice.parse({"name": "focal"}) == Training.parse({"loss": "focal"}).loss
        True
    """

    name: str
    options: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _bare_key(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @classmethod
    def of(cls, name: str, **options: Any) -> Choice:
        """Return a choice with options.

        Example:
            >>> Choice.of("focal", gamma=1.5).options
            {'gamma': 1.5}
        """
        return cls(name=name, options=options)


class Training(Config):
    """Options of training by gradient descent; None leaves a choice to the family.

    Args:
        loss: key of `learn/losses`, with options.
        optimizer: key of `learn/optimizers`, or "timm:NAME", with options.
        schedule: key of `learn/schedules`, with options.
        lr: peak learning rate.
        weight_decay: of matrices and kernels.
        batch_size: pictures a step.
        accumulate: batches whose gradients are summed before the optimizer steps.
        clip: largest norm of the whole gradient; a longer one is shortened to it.
        averaging: key of `learn/averaging` (means over recent weights), or "none".
        augment: keys of `learn/augment`, applied in this order; an empty list for none.
        mix: key of `learn/mixes` (mixup, cutmix), or "none".
        sampler: key of `learn/samplers`: which pictures make up a pass.
    """

    loss: Choice | None = None
    optimizer: Choice | None = None
    schedule: Choice | None = None
    lr: float | None = Field(default=None, gt=0)
    weight_decay: float | None = Field(default=None, ge=0)
    batch_size: int | None = Field(default=None, ge=1)
    accumulate: int | None = Field(default=None, ge=1)
    clip: float | None = Field(default=None, gt=0)
    averaging: Choice | None = None
    augment: tuple[Choice, ...] | None = None
    mix: Choice | None = None
    sampler: Choice | None = None

    def given(self) -> dict[str, Any]:
        """Return only what was decided, by name."""
        return {name: value for name, value in self if value is not None}
