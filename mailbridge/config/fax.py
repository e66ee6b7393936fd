"""`[fax]` and `[fax.redial]`: how faxes are sent and followed."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from mailbridge.config.section import Section
from mailbridge.config.values import Duration, PositiveDuration, wrong


class Redial(Section):
    """Further calls by mailbridge."""

    times: int = Field(
        default=0,
        ge=0,
        le=20,
        description="Maximum number of redials, up to 20.",
    )
    every: Duration = Field(
        default=600.0,
        description="Time between redials.",
    )


class FaxOptions(Section):
    """Options of outgoing faxes."""

    page: Literal["never", "auto", "always"] = Field(
        default="auto",
        description='Send the message text as the first page: "never", "auto" (if it has meaningful content) or "always".',
    )
    on_doubt: Literal["hold", "fail", "resend"] = Field(
        default="hold",
        description=(
            'When the answer to an upload is lost: "hold" (wait for a report or for `mailbridge resolve`), "fail", or "resend" '
            "(upload once more, then hold; the fax may be sent and charged twice)."
        ),
    )
    first_poll: PositiveDuration = Field(
        default=5.0,
        description="Initial interval of status polling.",
    )
    slowest_poll: PositiveDuration = Field(
        default=300.0,
        description="Maximum interval of status polling. Intervals grow from first_poll to this.",
    )
    give_up: PositiveDuration = Field(
        default=86400.0,
        description="A fax without a final status after this time fails as expired.",
    )
    per_number: int = Field(
        default=1,
        ge=0,
        description="Maximum number of calls to one number at a time; 0 is no limit. A second call would only find it busy.",
    )
    same_again: Duration = Field(
        default=120.0,
        description='Within this time, the same content to the same number is reported as repeat_of; "0s" reports none.',
    )
    redial: Redial = Field(
        default=Redial(),
        description="Redialing after busy or no answer, in addition to MyFax's own retries.",
    )

    @model_validator(mode="after")
    def _ordered_polls(self) -> FaxOptions:
        if self.first_poll > self.slowest_poll:
            raise wrong("first_poll is longer than slowest_poll", "increase slowest_poll or reduce first_poll")
        return self
