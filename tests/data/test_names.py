"""How names are read, compared and matched: laws first, then the places that must all follow them."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosslens.cli.options import split_names
from crosslens.data.catalog import Catalog
from crosslens.data.class_names import read_class_names
from crosslens.data.names import (
    AmbiguousNameError,
    Spelling,
    caseless,
    nfc,
    read_name,
    spelling_key,
    spelt_apart,
    stored_forms,
    told_apart,
)
from crosslens.evaluation.protocols.zero_shot import unseen_classes, without_classes
from crosslens.labels.wording import same_class
from crosslens.search.filters.text import parse_filter
from crosslens.search.stores.base import as_items
from crosslens.support.errors import CatalogError, ConfigError, EvaluationError
from crosslens.support.near_names import did_you_mean

TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=8)


def nfd(text):
    return unicodedata.normalize("NFD", text)


def readable(text):
    try:
        return read_name(text)
    except ValueError:
        return None


NAME = TEXT.map(readable).filter(bool)
ACCENTED = (
    st.text(st.sampled_from("éñüàかがगिमेला강아지 aB-_#+."), min_size=1, max_size=8).map(readable).filter(bool)
)


@given(TEXT)
def test_a_name_that_was_read_stays_as_it_is(text):
    name = readable(text)
    assert name is None or (read_name(name) == name == nfc(name) and name.strip() == name)


@given(NAME | ACCENTED)
def test_forms_and_ends_do_not_change_what_is_read(name):
    assert read_name(nfd(name)) == read_name(f" \u200b{name}\t\ufeff") == name
    assert caseless(nfd(name)) == caseless(name)
    assert spelling_key(nfd(name)) == spelling_key(name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is blank"),
        (" \u200b\u00a0", "is blank"),
        ("a\nb", "holds a line end"),
        ("a\u2028b", "holds a line end"),
        ("a\x1bb", "holds the control character U.001B"),
        ("a\udce9", "is no UTF-8 text"),
    ],
)
def test_what_is_no_name(text, message):
    with pytest.raises(ValueError, match=message):
        read_name(text)


DIFFERENT = [
    ("C", "C#", "C++", "Java"),
    ("+", "-", "#", "_"),
    ("😀", "😁"),
    ("मेला", "माला"),
    ("ดี", "ดุ"),
    ("が", "か"),
    ("1.0", "10", "1-0"),
    ("-5", "5"),
    ("A", "A-", "A+"),
    ("é", "e"),
    ("🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f", "🏴"),
]


@pytest.mark.parametrize("names", DIFFERENT, ids=str)
def test_names_that_differ_stay_apart_and_the_exact_one_is_found(names):
    assert len({spelling_key(name) for name in names}) == len(names)
    for name in names:
        assert Spelling(names).find(nfd(name)) == nfc(name)
        assert unseen_classes((name,), names) == (nfc(name),)
        assert not any(same_class(name, other) for other in names if other != name)
    assert spelt_apart(names) == []


@pytest.mark.parametrize(
    "spellings",
    [
        ("hot-air_balloon", "Hot Air Balloon", "hot air balloon", "HOTAIRBALLOON"),
        ("mouse (animal)", "mouse_(animal)", "mouse_animal"),
        ("Real World", "Real_World", "RealWorld", "real—world"),
        ("café", nfd("café"), "CAFÉ", " café "),
        ("강아지", nfd("강아지")),
        ("Straße", "STRASSE", "strasse"),
        ("jack-o'-lantern", "jack-o’-lantern", "jack o lantern"),
    ],
    ids=str,
)
def test_spellings_of_one_name_find_it(spellings):
    for known in spellings:
        for typed in spellings:
            assert Spelling([known, "other"]).find(typed) == known
            assert same_class(known, typed)


def test_the_strictest_likeness_decides():
    known = Spelling(["Dog", "dog", "hot-dog", "hot dog", "Café"], {"hound": "dog"})
    assert known.find("dog") == "dog"
    assert known.find("Dog ") == "Dog"
    assert known.find("hot dog") == "hot dog"
    assert known.find(nfd("CAFÉ")) == "Café"
    assert known.find("HOUND") == "dog"
    assert known.find("cat") is None
    for name, both in (("DOG", "'Dog' and 'dog'"), ("hotdog", "'hot-dog' and 'hot dog'")):
        with pytest.raises(AmbiguousNameError, match=both):
            known.find(name)


def test_names_that_look_the_same_are_shown_by_their_code_points():
    assert told_apart(("é", nfd("é"))) == r"'\xe9' and 'e\u0301'"
    assert told_apart(("Dog", "dog")) == "'Dog' and 'dog'"


def test_near_names_are_offered():
    assert did_you_mean("skech", ["sketch", "photo"]) == "; did you mean 'sketch'?"
    assert did_you_mean("Phto", ["sketch", "photo"]) == "; did you mean 'photo'?"
    assert did_you_mean("guitar", ["sketch", "photo"]) == ""


@given(st.lists(ACCENTED, min_size=1, max_size=4).map("/".join))
def test_stored_forms_hold_the_text_itself_and_both_forms_of_every_folder(text):
    forms = stored_forms(text)
    assert forms[0] == text
    assert len(set(forms)) == len(forms)
    assert {nfc(text), nfd(text)} <= set(forms)
    assert {nfc(form) for form in forms} == {nfc(text)}
    first, slash, rest = text.partition("/")
    assert nfd(first) + slash + nfc(rest) in forms


# Every place that takes a name, as ``find(known, typed) -> known``.


def catalog_of(domains, labels=("x", "y")):
    rows = [
        {"path": f"{n}/{m}.jpg", "domain": domain, "label": label}
        for n, domain in enumerate(domains)
        for m, label in enumerate(labels)
    ]
    return Catalog.from_rows(rows, ".")


def selected_domain(known, typed):
    return catalog_of(known).select(domains=split_names(typed)).domains[0]


def named_domain(known, typed):
    return catalog_of(known).domains_named([typed])[0]


def selected_label(known, typed):
    return catalog_of(["photo"], known).select(labels=[typed]).classes[0]


def selected_split(known, typed):
    rows = [{"path": f"{n}.jpg", "domain": "a", "split": name} for n, name in enumerate(known)]
    return Catalog.from_rows(rows, ".").select(splits=[typed]).column("split")[0]


def unseen_class(known, typed):
    return unseen_classes([typed], known)[0]


def left_out_class(known, typed):
    left = without_classes(catalog_of(["photo"], known), [typed]).classes
    (gone,) = set(known) - set(left)
    return gone


def class_of_a_list(known, typed):
    return Spelling(read_class_names(list(known))).find(typed)


PLACES = [selected_domain, named_domain, selected_label, unseen_class, left_out_class, class_of_a_list]


@pytest.mark.parametrize("place", [*PLACES, selected_split], ids=lambda place: place.__name__)
@pytest.mark.parametrize(
    "write", [str, nfd, str.upper, lambda text: f" {text} "], ids=["nfc", "nfd", "upper", "ends"]
)
@pytest.mark.parametrize("known", [("café", "plain"), ("가방", "ballon"), ("ñandú", "c#")], ids=str)
def test_every_place_finds_every_spelling(place, write, known):
    assert place(known, write(known[0])) == known[0]


@pytest.mark.parametrize(
    "place", [selected_domain, named_domain, selected_label], ids=lambda place: place.__name__
)
def test_a_name_that_could_be_two_is_refused_and_an_exact_one_is_not(place):
    assert place(("Dog", "dog"), "dog") == "dog"
    with pytest.raises(CatalogError, match="could be either of 'Dog' and 'dog'"):
        place(("Dog", "dog"), "DOG")


def test_an_unseen_class_that_could_be_two_is_refused():
    with pytest.raises(EvaluationError, match="the class 'DOG' could be either of 'Dog' and 'dog'"):
        unseen_classes("DOG", ["Dog", "dog", "cat"])
    assert unseen_classes("C", ["C", "C#", "C++", "Java"]) == ("C",)
    with pytest.raises(EvaluationError, match="did you mean 'guitar'"):
        unseen_classes("gitar", ["dog", "guitar"])


def test_a_number_that_is_a_class_too_is_refused():
    digits = ["1", "2", "3", "4"]
    with pytest.raises(EvaluationError, match="a number of classes to draw"):
        unseen_classes("3", digits)
    assert unseen_classes("3,", digits) == ("3",)
    assert len(unseen_classes(3, digits)) == 3
    with pytest.raises(EvaluationError, match="a published split"):
        unseen_classes("quickdraw", ["quickdraw", "dog", "cat"])


def test_a_published_split_knows_the_spellings_of_its_archives():
    assert unseen_classes("tu-berlin", ["tromobone", "trombone", "dog"]) == ("trombone", "tromobone")
    assert unseen_classes("tu-berlin", ["spacesshuttle", "dog"]) == ("spacesshuttle",)


def test_class_lists_refuse_one_name_in_two_forms():
    assert read_class_names([nfd("café"), " C", "C++"]) == ("café", "C", "C++")
    with pytest.raises(ConfigError, match=r"caf\\xe9.* and .*cafe\\u0301|twice"):
        read_class_names(["café", nfd("café")])
    with pytest.raises(ConfigError, match="'café' and 'CAFÉ' twice"):
        read_class_names(["café", nfd("CAFÉ")])


def test_domains_on_the_command_line():
    assert split_names(f" sketch,{nfd('peinture_é')}") == ["sketch", "peinture_é"]
    with pytest.raises(ConfigError, match="a name that is blank"):
        split_names("sketch, ,photo")


@pytest.mark.parametrize("stored", [str, nfd], ids=["stored-nfc", "stored-nfd"])
@pytest.mark.parametrize("typed", [str, nfd], ids=["typed-nfc", "typed-nfd"])
@pytest.mark.parametrize(
    "text",
    [
        "label = 'café'",
        "label in ('dog', 'café')",
        "label starts with 'caf'",
        "id = 'é/à.jpg'",
        "id starts with 'é/'",
    ],
)
def test_filters_match_in_either_form(stored, typed, text):
    import pyarrow as pa

    items = as_items(
        pa.table(
            {
                "id": [stored("é/à.jpg"), "b"],
                "path": ["/a", "/b"],
                "domain": ["p", "p"],
                "label": [stored("café"), "x"],
            }
        )
    )
    where = parse_filter(typed(text))
    assert where.mask(items).tolist() == [True, False]
    assert parse_filter(f"not {typed(text)}").mask(items).tolist() == [False, True]
