"""One performance of the demo, from setting the stage to its result."""

from __future__ import annotations

from bb5_breaker.demo import DemoStuck
from bb5_breaker.demo.audience import choose_audience
from bb5_breaker.demo.result import DemoResult
from bb5_breaker.demo.signals import ended_by_signals
from bb5_breaker.demo.stage import Stage
from bb5_breaker.demo.story import tell_story

__all__ = ["perform"]


def perform(*, as_json: bool) -> DemoResult:
    """Run the demo and show it to whoever is there."""
    audience = choose_audience(as_json=as_json)
    troubles = []
    with ended_by_signals():
        with Stage(audience.watch) as stage:
            try:
                with audience.seated():
                    tell_story(stage)
            except DemoStuck as stuck:
                troubles.append(str(stuck))
            audience.watch(stage)
            result = DemoResult.of(stage.dismiss(troubles))
        audience.conclude(result)
    return result
