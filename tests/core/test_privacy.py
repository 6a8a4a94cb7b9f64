"""What is recognised as a secret, a user or a place."""

import pytest

from sdenv.core.privacy import is_place, is_secret, name_only, without_folders, without_user


@pytest.mark.parametrize(
    "name", ["token", "shared_secret", "PASSWORD", "apiKey", "api_key", "backends.gpu.token"]
)
def test_a_secret_is_known_by_its_name(name: str) -> None:
    assert is_secret(name)


@pytest.mark.parametrize("name", ["steps", "token_file", "secret_path", "token.steps", ""])
def test_what_only_says_where_a_secret_lies_is_none(name: str) -> None:
    assert not is_secret(name)


def test_users_and_passwords_are_cut_out_of_every_url() -> None:
    assert (
        without_user("a http://ann:hush@gpu:1/x@y and socket://ann@b") == "a http://gpu:1/x@y and socket://b"
    )


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("/home/ann/fox", "fox"),
        ("~/fox/", "fox"),
        ("./fox", "fox"),
        ("../a/fox", "fox"),
        ("C:\\Users\\ann\\fox", "fox"),
        ("\\\\host\\fox", "fox"),
        ("file:///home/ann/fox", "fox"),
    ],
)
def test_of_a_place_the_name_is_left(text: str, name: str) -> None:
    assert is_place(text)
    assert name_only(text) == name


@pytest.mark.parametrize(
    "name", ["fox", "runwayml/stable-diffusion-v1-5", "a fox: red", "fox.safetensors", "", "1:2"]
)
def test_a_name_stays_as_it_is(name: str) -> None:
    assert not is_place(name)
    assert name_only(name) == name


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Full: '/home/ann o/x/jobs.sqlite3' could not.", "Full: 'jobs.sqlite3' could not."),
        ('No "/home/ann"; see /srv/a/b.png: gone.', 'No "ann"; see b.png: gone.'),
        ("mv /srv/a/b /srv/a/b.damaged", "mv b b.damaged"),
        ("at file:///srv/a/b.png", "at file://b.png"),
        ("http://gpu:1/x/y and owner/model, GET /docs lists them; ../a/b", None),
        ("a it's /, image/png and 1/2 of 'a/b'", None),
    ],
)
def test_of_every_path_in_a_text_the_name_is_left(text: str, shown: str | None) -> None:
    assert without_folders(text) == (text if shown is None else shown)
