from crosslens.datasets.office31 import OFFICE31


def test_official_layout(tree):
    catalog = OFFICE31.read(
        tree(
            "domain_adaptation_images/amazon/images/back_pack/frame_0001.jpg",
            "domain_adaptation_images/dslr/images/backpack/frame_0001.jpg",
            "domain_adaptation_images/webcam/images/mug/frame_0001.jpg",
        )
    )
    assert catalog.domains == ["amazon", "dslr", "webcam"]
    assert catalog.labels == ["back_pack", "back_pack", "mug"]
    assert catalog.notes == ()
    assert all(path.is_file() for path in catalog.paths)


def test_plain_layout_with_a_domain_missing(tree):
    catalog = OFFICE31.read(tree("amazon/bike/1.jpg", "webcam/bike/1.jpg"))
    assert catalog.counts() == {"amazon": {"bike": 1}, "webcam": {"bike": 1}}
    assert any("no folder of the domain dslr" in note for note in catalog.notes)
