"""Class folders of images, in folders and in tars."""

import io
import tarfile

import numpy as np
import pytest
from PIL import Image

from firstspike.data import folders as folders_module
from firstspike.data import load
from firstspike.errors import UserError


def picture(seed, size=(6, 5), colour=False):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3) if colour else size, np.uint8)


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def make(root, parts=("train", "test"), classes=("b", "a"), count=3, **how):
    for p, part in enumerate(parts):
        for c, name in enumerate(classes):
            for n in range(count):
                save(root / part / name / f"{n}.png", picture(100 * p + 10 * c + n, **how))
    return root


def pack(folder, tar, mode="w"):
    with tarfile.open(tar, mode) as archive:
        archive.add(folder, arcname="set")
    return tar


def test_given_train_and_test_folders(tmp_path):
    data = load(f"folder:{make(tmp_path / 'x')}")
    assert data.class_names == ("a", "b")
    assert data.train_images.shape == data.test_images.shape == (6, 6, 5)
    assert np.array_equal(data.train_images[0], picture(10))
    assert data.test_labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert not data.mirror


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_a_tar_is_the_same_data_set_as_its_folder(tmp_path, mode):
    plain = load(f"folder:{make(tmp_path / 'x', colour=True)}")
    packed = load(f"folder:{pack(tmp_path / 'x', tmp_path / 'x.tar', mode)}")
    for name in ("train_images", "train_labels", "test_images", "test_labels"):
        assert np.array_equal(getattr(plain, name), getattr(packed, name))
    assert (packed.channels, packed.image_size) == (3, (6, 5))


def test_split_by_seed_is_stratified_and_repeatable(tmp_path):
    make(tmp_path / "x", parts=("",), count=10)
    first, again, other = (load(f"folder:{tmp_path / 'x'}", seed=s) for s in (0, 0, 1))
    assert first.test_labels.tolist() == [0, 0, 1, 1]
    assert np.array_equal(first.test_images, again.test_images)
    assert not np.array_equal(first.test_images, other.test_images)


def test_grey_palettes_stay_grey_and_colour_makes_all_colour(tmp_path):
    make(tmp_path / "x", parts=("",))
    Image.fromarray(picture(1)).convert("P").save(tmp_path / "x" / "a" / "p.gif")
    assert load(f"folder:{tmp_path / 'x'}").channels == 1
    save(tmp_path / "x" / "a" / "c.png", picture(1, colour=True))
    assert load(f"folder:{tmp_path / 'x'}").channels == 3


def test_mixed_sizes_need_an_image_size(tmp_path):
    make(tmp_path / "x", parts=("",))
    save(tmp_path / "x" / "b" / "z.png", picture(1, size=(9, 9)))
    with pytest.raises(UserError, match=r"b/z.png is 9x9\): give --image-size"):
        load(f"folder:{tmp_path / 'x'}")
    assert load(f"folder:{tmp_path / 'x'}", image_size=8).image_size == (8, 8)
    assert load(f"folder:{tmp_path / 'x'}", image_size=(7, 4)).image_size == (7, 4)


@pytest.mark.parametrize("size", [0, (5, -1)])
def test_sizes_must_be_positive(tmp_path, size):
    with pytest.raises(UserError, match="at least 1"):
        load(f"folder:{make(tmp_path / 'x')}", image_size=size)


def _tiff(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "TIFF")
    return buffer.getvalue()


def _npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("bad.png", b"not a picture", "not a readable image"),
        ("cut.tif", _tiff(picture(0, size=(60, 60)))[:200], "not a readable image"),
        ("float.tif", _tiff(np.full((6, 5), np.nan, np.float32)), "mode F"),
        ("deep.tif", _tiff(np.full((6, 5), 1000, np.uint16)), "mode I"),
        ("nan.npy", _npy(np.full((6, 5), np.nan)), "float64 pixels with NaN"),
        ("object.npy", b"\x93NUMPY junk", "not a readable array"),
        ("flat.npy", _npy(np.zeros(7, np.uint8)), r"shape \(7,\)"),
    ],
)
def test_what_is_not_an_8_bit_picture_is_refused_by_name(tmp_path, name, content, says):
    make(tmp_path / "x")
    (tmp_path / "x" / "train" / "a" / name).write_bytes(content)
    with pytest.raises(UserError, match=says) as caught:
        load(f"folder:{tmp_path / 'x'}")
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_arrays_count_as_pictures(tmp_path):
    make(tmp_path / "x")
    (tmp_path / "x" / "train" / "a" / "0.npy").write_bytes(_npy(picture(7)))
    assert np.array_equal(load(f"folder:{tmp_path / 'x'}").train_images[0], picture(7))


@pytest.mark.parametrize("packed", [True, False])
def test_hidden_files_and_folders_do_not_count(tmp_path, packed):
    make(tmp_path / "x")
    (tmp_path / "x" / "train" / ".cache").mkdir()
    save(tmp_path / "x" / "train" / "__MACOSX" / "a.png", picture(0))
    save(tmp_path / "x" / "train" / "a" / "._0.png", picture(0))
    path = pack(tmp_path / "x", tmp_path / "x.tar") if packed else tmp_path / "x"
    data = load(f"folder:{path}")
    assert data.class_names == ("a", "b")
    assert len(data.train_images) == 6


@pytest.mark.parametrize("packed", [True, False])
def test_empty_class_folders(tmp_path, packed):
    make(tmp_path / "x")
    (tmp_path / "x" / "test" / "c").mkdir()
    path = pack(tmp_path / "x", tmp_path / "x.tar") if packed else tmp_path / "x"
    with pytest.raises(UserError, match=r"test/c holds no images"):
        load(f"folder:{path}")


def test_a_class_that_is_only_in_test(tmp_path):
    make(tmp_path / "x")
    save(tmp_path / "x" / "test" / "z" / "0.png", picture(0))
    with pytest.raises(UserError, match="a class that train/ lacks: z"):
        load(f"folder:{tmp_path / 'x'}")


def test_no_images_and_no_folder(tmp_path):
    with pytest.raises(UserError, match="holds no images"):
        load(f"folder:{tmp_path}")
    with pytest.raises(UserError, match="does not exist"):
        load(f"folder:{tmp_path / 'none'}")


@pytest.mark.parametrize("name", ["/etc/x.png", "a/../../x.png"])
def test_an_archive_must_stay_inside_of_itself(tmp_path, name):
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo(name))
    with pytest.raises(UserError, match="outside of itself"):
        load(f"folder:{tmp_path / 'x.tar'}")


def test_links_in_an_archive_are_not_followed(tmp_path):
    make(tmp_path / "x")
    (tmp_path / "x" / "train" / "a" / "link.png").symlink_to("/etc/passwd")
    packed = load(f"folder:{pack(tmp_path / 'x', tmp_path / 'x.tar')}")
    assert len(packed.train_images) == 6


@pytest.mark.parametrize("mode", ["w", "w:gz"])
@pytest.mark.parametrize("kept", [0.3, 0.7, 0.95])
def test_truncated_archives(tmp_path, mode, kept):
    tar = pack(make(tmp_path / "x", size=(40, 40)), tmp_path / "x.tar", mode)
    content = tar.read_bytes().rstrip(b"\0") if mode == "w" else tar.read_bytes()
    tar.write_bytes(content[: int(kept * len(content)) // 512 * 512 or 100])
    with pytest.raises(UserError, match="truncated"):
        load(f"folder:{tar}")


def test_an_archive_cut_between_two_members(tmp_path):
    tar = pack(make(tmp_path / "x"), tmp_path / "x.tar")
    with tarfile.open(tar) as archive:
        last = archive.getmembers()[-1].offset
    tar.write_bytes(tar.read_bytes()[:last])
    with pytest.raises(UserError, match="ends with a block of zeros"):
        load(f"folder:{tar}")


def test_limits_on_what_an_archive_unpacks_to(tmp_path, monkeypatch):
    tar = pack(make(tmp_path / "x"), tmp_path / "x.tar.gz", "w:gz")
    for limit, value in (("LARGEST_ARCHIVE", 500), ("LARGEST_FILE", 50), ("MOST_MEMBERS", 3)):
        with monkeypatch.context() as patch:
            patch.setattr(folders_module, limit, value)
            with pytest.raises(UserError, match="more than is allowed"):
                load(f"folder:{tar}")


def test_limit_on_the_pixels_of_a_picture(tmp_path, monkeypatch):
    monkeypatch.setattr(folders_module, "LARGEST_PICTURE", 29)
    with pytest.raises(UserError, match="5x6 pixels, more than 29"):
        load(f"folder:{make(tmp_path / 'x')}")


def test_eth_archive(data_dir):
    data = load(f"folder:{data_dir / 'eth-cup-dog.tar'}", image_size=16)
    assert data.class_names == ("cup", "dog")
    assert (len(data.train_images), len(data.test_images)) == (656, 164)
    assert data.train_images.shape[1:] == (3, 16, 16)
