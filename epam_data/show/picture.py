"""Pictures of a sample: a frame, the frame with its skeleton, and the frame with its heatmap."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from epam_data.samples.geometry import to_heatmap_pixels
from epam_data.schema import Sample
from epam_data.skeleton import LAYOUTS, SkeletonLayout, joint_is_missing

_HOT = np.array([255.0, 90.0, 20.0])  # colour of a heatmap's peak, on a dim grey frame
_SIDES = {"left": (86, 180, 233), "right": (230, 159, 0)}  # the person's left and right; safe for colour-blind readers
_MIDDLE, _JOINT = (240, 240, 240), (255, 255, 255)
_MIN_PANEL_PX = 192  # smaller frames are enlarged, so that the skeleton does not hide them


def overlay(sample: Sample, frame: int, *, layout: SkeletonLayout | None = None, flip: bool = False) -> Image.Image:
    """Frame, frame with skeleton, and frame with heatmap, side by side.

    Args:
        sample: the sample to show.
        frame: 0 ... T - 1.
        layout: the manifest's joints; None: the built-in layout that the sample names, else joints without limbs.
        flip: show the mirror image as in training, with left and right joints swapped: left keeps its colour.
    """
    info = sample.info
    rgb, heat = sample.frames[frame], sample.heatmap[frame].max(axis=0)
    size = info.rgb_size_px * max(1, -(-_MIN_PANEL_PX // info.rgb_size_px))
    points = to_heatmap_pixels(
        sample.keypoints[:, frame, :, :2], info.image_size, info.video_size, info.box, (size, size)
    )
    missing = joint_is_missing(sample.keypoints[:, frame, :, :2], sample.keypoints[:, frame, :, 2])
    layout = layout or LAYOUTS.get(info.skeleton) or _unknown_layout(sample)
    if flip:
        rgb, heat = rgb[:, ::-1], heat[:, ::-1]
        points[..., 0] = size - 1 - points[..., 0]
        points, missing = points[:, layout.flip_order], missing[:, layout.flip_order]
    plain = Image.fromarray(np.ascontiguousarray(rgb)).resize((size, size), Image.Resampling.BICUBIC)
    panels = [plain, _with_skeleton(plain, points, missing, layout), with_heatmap(plain, heat)]
    sheet = Image.new("RGB", (size * len(panels), size))
    for number, panel in enumerate(panels):
        sheet.paste(panel, (number * size, 0))
    return sheet


def contact_sheet(
    sample: Sample, num_frames: int = 4, *, layout: SkeletonLayout | None = None, flip: bool = False
) -> Image.Image:
    """`overlay` of evenly spaced frames (never the first or last), one below the other."""
    moments = (np.arange(num_frames) + 0.5) * sample.info.num_frames / num_frames
    rows = [overlay(sample, int(frame), layout=layout, flip=flip) for frame in moments]
    sheet = Image.new("RGB", (rows[0].width, sum(row.height for row in rows)))
    for number, row in enumerate(rows):
        sheet.paste(row, (0, number * row.height))
    return sheet


def as_text(image: Image.Image, columns: int) -> str:
    """The picture as lines for a terminal with 24-bit colour; each character shows two pixels, one above the other."""
    height = max(2, round(image.height * columns / image.width / 2) * 2)
    pixels = np.asarray(image.convert("RGB").resize((columns, height), Image.Resampling.BOX)).tolist()
    lines = []
    for above, below in zip(pixels[::2], pixels[1::2], strict=True):
        cells = (
            f"\x1b[38;2;{a};{b};{c};48;2;{d};{e};{f}m\N{UPPER HALF BLOCK}"
            for (a, b, c), (d, e, f) in zip(above, below, strict=True)
        )
        lines.append("".join(cells) + "\x1b[0m")
    return "\n".join(lines)


def with_heatmap(plain: Image.Image, heat: NDArray[np.uint8]) -> Image.Image:
    """A dimmed grey frame with a heatmap (h, w) of any size on top; 255 is the peak."""
    weight = np.asarray(Image.fromarray(np.ascontiguousarray(heat)).resize(plain.size, Image.Resampling.BILINEAR))
    share = np.sqrt(weight[..., None].astype(np.float64) / 255)  # brightens Gaussians, faint dots at 0.6 pixels
    grey = np.asarray(plain.convert("L"))[..., None] * 0.75
    return Image.fromarray((grey * (1 - share) + _HOT * share).astype(np.uint8))


def _unknown_layout(sample: Sample) -> SkeletonLayout:
    """Numbered joints without limbs, for a layout that is not built in."""
    joints = tuple(f"joint_{number}" for number in range(sample.keypoints.shape[2]))
    return SkeletonLayout(name=sample.info.skeleton, joints=joints, flip_pairs=(), limbs=())


def _with_skeleton(
    plain: Image.Image, points: NDArray[np.float64], missing: NDArray[np.bool_], layout: SkeletonLayout
) -> Image.Image:
    image = plain.copy()
    draw = ImageDraw.Draw(image)
    radius = max(1.0, image.width / 110)
    for person, gone in zip(points, missing, strict=True):
        for a, b in layout.limbs:
            if not (gone[a] or gone[b]):
                ends = [tuple(person[a]), tuple(person[b])]
                draw.line(ends, fill=_colour(layout, a, b), width=max(1, round(radius * 1.5)))
        for (x, y), is_gone in zip(person, gone, strict=True):
            if not is_gone:
                draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=_JOINT)
    return image


def _colour(layout: SkeletonLayout, a: int, b: int) -> tuple[int, int, int]:
    sides = {layout.joints[joint].partition("_")[0] for joint in (a, b)} & _SIDES.keys()
    return _SIDES[sides.pop()] if len(sides) == 1 else _MIDDLE
