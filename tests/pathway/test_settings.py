"""The settings of the pathway: where they come from and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from perfdb.errors import SettingsError
from perfdb.pathway import PathwaySettings
from perfdb.settings import load


def settings_of(tmp_path: Path, text: str, **environ: str) -> PathwaySettings:
    (tmp_path / "perfdb.toml").write_text(text)
    return PathwaySettings.load(load(environ={}, cwd=tmp_path), environ=environ)


def test_they_come_from_the_file_and_the_keys_from_the_environment(tmp_path: Path) -> None:
    settings = settings_of(
        tmp_path,
        '[pathway]\nimage_model = "gpt-image-2.6-flare"\noutput_dir = "out"\n',
        OPENAI_API_KEY="sk-one-of-them",
        SERPAPI_API_KEY="two",
    )

    assert settings.image_model == "gpt-image-2.6-flare"
    assert settings.output_dir == tmp_path / "out"
    assert settings.missing_keys == ()
    assert "sk-one-of-them" not in repr(settings)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('image_modle = "x"', "line 2: unknown setting 'image_modle'.*did you mean 'image_model'"),
        ("search_workers = 9", "line 2: 'search_workers'.*from 1 to 8"),
        ("fast_max_product_types = 4", "from 1 to 3"),
        ('image_size = "big"', "1024x1024"),
        ("min_products = 17", "from 0 to 16"),
        ('image_idempotency_header = "a b"', "such as Idempotency-Key"),
        ("design_timeout_s = 0", "from 0.01 to 3600"),
        ('openai_api_key = "sk-secret"', "set OPENAI_API_KEY instead"),
    ],
)
def test_mistakes_are_named_with_their_line(tmp_path: Path, line: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words) as refused:
        settings_of(tmp_path, f"[pathway]\n{line}\n")
    assert "sk-secret" not in str(refused.value)


def test_fast_mode_takes_each_fast_value() -> None:
    fast = PathwaySettings().for_mode(True)

    assert (fast.vision_model, fast.vision_temperature, fast.max_product_types) == ("gpt-4o-mini", 0.0, 3)
    assert fast.image_size == "1024x1024"
