"""The stand-in services: repeatable, and a truth to compare perfdb's spans with."""

from __future__ import annotations

from typing import Any

import pytest

from perfdb.pathway.images import as_jpeg
from perfdb.pathway.standin import Faults, LatencyModel, StandIn
from perfdb.pathway.standin.faults import DROPPED
from perfdb.pathway.standin.pictures import draw_product, draw_room


def test_the_same_seed_takes_the_same_times() -> None:
    def times(seed: int) -> list[float]:
        model = LatencyModel(seed)
        return [model.draw("vision"), model.draw("search"), model.draw("vision")]

    assert times(3) == times(3) != times(4)


def test_other_requests_do_not_change_a_time() -> None:
    alone, busy = LatencyModel(1), LatencyModel(1)
    busy.draw("search")

    assert alone.draw("vision") == busy.draw("vision")


def test_a_slower_kind_is_slower_in_all_its_variants() -> None:
    before, after = LatencyModel(1), LatencyModel(1)
    after.slow_down("image", 2.0)

    assert after.draw("image-small") == pytest.approx(2 * before.draw("image-small"))
    with pytest.raises(ValueError, match="choose from vision"):
        after.slow_down("vission", 2.0)


def test_faults_come_in_order_and_then_no_more() -> None:
    faults = Faults()
    faults.next("image", DROPPED)

    assert [faults.take("image"), faults.take("image"), faults.take("vision")] == [DROPPED, None, None]


def test_the_same_seed_draws_the_same_pictures() -> None:
    assert draw_room(64, 48, seed=5, furnished=True) == draw_room(64, 48, seed=5, furnished=True)
    assert draw_product("sofa", seed=1) != draw_product("sofa", seed=2)


@pytest.mark.parametrize("several", [False, True])
def test_edits_take_one_image_or_a_list(standin: StandIn, several: bool) -> None:
    import openai

    picture = ("room.jpg", as_jpeg(draw_room(64, 48)), "image/jpeg")
    with openai.OpenAI(base_url=f"{standin.url}/v1", api_key="sk-any") as client:
        answer = client.images.edit(
            model="gpt-image-2.5-flare", prompt="a room", image=[picture, picture] if several else picture
        )

    assert answer.data is not None
    assert answer.usage is not None
    assert answer.data[0].b64_json


def test_a_withdrawn_model_is_a_404(standin: StandIn) -> None:
    import openai

    picture = ("room.jpg", as_jpeg(draw_room(64, 48)), "image/jpeg")
    with (
        openai.OpenAI(base_url=f"{standin.url}/v1", api_key="sk-any") as client,
        pytest.raises(openai.NotFoundError, match="gpt-image-1"),
    ):
        client.images.edit(model="gpt-image-1", prompt="a room", image=picture)


def test_the_sdks_own_retries_are_seen_in_the_log(standin: StandIn) -> None:
    import openai

    standin.faults.next("vision", DROPPED)
    with openai.OpenAI(base_url=f"{standin.url}/v1", api_key="sk-any", max_retries=1) as client:
        client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "hello"}])

    assert [(served.attempt, served.status) for served in standin.requests("vision")] == [(0, None), (1, 200)]


def test_what_perfdb_measured_contains_what_the_server_did(
    pathway: Any, room: bytes, steps_of: Any, standin: StandIn
) -> None:
    standin.latency.time_scale = 0.002

    steps = steps_of(pathway.generate(room))

    for name, kind in (("Vision Analysis", "vision"), ("Image Generation", "image")):
        (attempt,) = steps[name][0]["attempts"]
        (served,) = standin.requests(kind)
        assert attempt["start_time"] <= served.start + 0.005
        assert attempt["duration"] >= served.service_s
        assert steps[name][0]["additional_data"]["server_s"] == pytest.approx(
            served.end - served.start, abs=0.05
        )
