"""Maps as one page to look into: the pointer shows the class and the image itself. No network, no other file."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Sequence
from io import BytesIO

import numpy as np
from numpy.typing import NDArray

from ltgen_bench.evaluation.report.maps_figure import MapPanel, class_colours

_MOST_SHOWN = 6000  # images whose pixels are in the page; a page with all of ImageNet-LT's could not be opened
_SPRITE_COLUMNS = 64


def maps_page(
    panels: Sequence[MapPanel],
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    class_names: Sequence[str],
    head_to_tail: Sequence[int],
    tail: Sequence[int],
    caption: str,
) -> str:
    """The page as HTML. `images` uint8 (N, C, H, W); of more than 6,000 every class is thinned out alike."""
    rows = _shown(labels)
    colours = class_colours(head_to_tail)
    data = {
        "panels": [
            {
                "method": panel.method,
                "kind": panel.kind,
                "words": panel.words,
                "points": _scaled(panel.points)[rows].tolist(),
            }
            for panel in panels
        ],
        "labels": labels[rows].tolist(),
        "names": list(class_names),
        "colours": [colours[c] for c in range(len(class_names))],
        "order": list(head_to_tail),
        "tail": list(tail),
        "size": int(images.shape[2]),
        "columns": _SPRITE_COLUMNS,
    }
    # "<" could end the script; JSON has another way to write it
    text = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    return (
        _PAGE.replace("%CAPTION%", html.escape(caption))
        .replace("%SPRITE%", _sprite(images[rows]))
        .replace("%DATA%", text)
    )


def _shown(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    if len(labels) <= _MOST_SHOWN:
        return np.arange(len(labels))
    return np.sort(np.random.default_rng(0).permutation(len(labels))[:_MOST_SHOWN])


def _scaled(points: NDArray[np.float32]) -> NDArray[np.float64]:
    """Into the unit square, with three decimals, which are less than a pixel."""
    low, high = points.min(axis=0), points.max(axis=0)
    scaled: NDArray[np.float64] = np.round((points - low) / np.maximum(high - low, 1e-12), 3).astype(np.float64)
    return scaled


def _sprite(images: NDArray[np.uint8]) -> str:
    """All images in one PNG, as a data address."""
    from PIL import Image

    count, channels, size, _ = images.shape
    lines = -(-count // _SPRITE_COLUMNS)
    sheet = np.zeros((lines * _SPRITE_COLUMNS, channels, size, size), np.uint8)
    sheet[:count] = images
    grid = sheet.reshape(lines, _SPRITE_COLUMNS, channels, size, size).transpose(0, 3, 1, 4, 2)
    pixels = grid.reshape(lines * size, _SPRITE_COLUMNS * size, channels)
    buffer = BytesIO()
    Image.fromarray(pixels[..., 0] if channels == 1 else pixels).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Maps of representations</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body { font: 15px/1.4 system-ui, sans-serif; margin: 1.2rem; color: #222; background: #fff; }
#maps { display: flex; flex-wrap: wrap; gap: 1.2rem; }
figure { margin: 0; } canvas { border: 1px solid #ccc; touch-action: none; }
figcaption { max-width: 360px; font-size: .85rem; color: #555; }
#tip { position: fixed; display: none; pointer-events: none; background: #fff; border: 1px solid #888; padding: .4rem; }
#tip canvas { border: 0; image-rendering: pixelated; display: block; }
#key span { display: inline-block; margin-right: .9rem; } #key i { display: inline-block; width: .8em; height: .8em;
border-radius: 50%; margin-right: .3em; }
</style></head><body>
<h1>Maps of representations</h1><p>%CAPTION%. Point at an image to see it; its place in every other map is marked.</p>
<p id="key"></p><div id="maps"></div><div id="tip"><canvas width="96" height="96"></canvas><div></div></div>
<img id="sprite" alt="" hidden src="%SPRITE%">
<script type="application/json" id="data">%DATA%</script>
<script>
const data = JSON.parse(document.getElementById("data").textContent), side = 360, edge = 12;
const [sprite, tip, key] = ["sprite", "tip", "key"].map((id) => document.getElementById(id));
const rare = new Set(data.tail), rank = new Map(data.order.map((c, i) => [c, i]));
const order = data.labels.map((_, i) => i).sort((a, b) => rank.get(data.labels[a]) - rank.get(data.labels[b]));
for (const c of data.order) {
  const item = document.createElement("span"), dot = document.createElement("i");
  dot.style.background = data.colours[c];
  item.append(dot, data.names[c] + (rare.has(c) ? " (tail)" : "")); key.append(item);
}
const place = (p) => [edge + p[0] * (side - 2 * edge), edge + (1 - p[1]) * (side - 2 * edge)];
const maps = data.panels.map((panel) => {
  const figure = document.createElement("figure"), canvas = document.createElement("canvas");
  canvas.width = canvas.height = side;
  const caption = document.createElement("figcaption");
  caption.textContent = panel.method + ", " + panel.kind + ": " + panel.words;
  figure.append(canvas, caption); document.getElementById("maps").append(figure);
  const map = { canvas, points: panel.points.map(place) };
  canvas.addEventListener("pointermove", (event) => hover(map, event));
  canvas.addEventListener("pointerleave", () => { tip.style.display = "none"; maps.forEach((m) => draw(m, -1)); });
  return map;
});
function draw(map, chosen) {
  const pen = map.canvas.getContext("2d"); pen.clearRect(0, 0, side, side);
  for (const i of order) {
    const c = data.labels[i], [x, y] = map.points[i];
    pen.globalAlpha = rare.has(c) ? 0.9 : 0.5; pen.fillStyle = data.colours[c];
    pen.beginPath(); pen.arc(x, y, rare.has(c) ? 3.2 : 1.9, 0, 7); pen.fill();
    if (rare.has(c)) { pen.lineWidth = 0.5; pen.strokeStyle = "#000"; pen.stroke(); }
  }
  if (chosen >= 0) {
    pen.globalAlpha = 1; pen.strokeStyle = "#c0392b"; pen.lineWidth = 2; const [x, y] = map.points[chosen];
    pen.beginPath(); pen.arc(x, y, 7, 0, 7); pen.stroke();
  }
}
function hover(map, event) {
  let best = -1, least = 150;
  map.points.forEach(([x, y], i) => {
    const d = (x - event.offsetX) ** 2 + (y - event.offsetY) ** 2; if (d < least) { least = d; best = i; }
  });
  maps.forEach((m) => draw(m, best));
  if (best < 0) { tip.style.display = "none"; return; }
  const pen = tip.firstChild.getContext("2d"), s = data.size; pen.imageSmoothingEnabled = false;
  pen.drawImage(sprite, (best % data.columns) * s, Math.floor(best / data.columns) * s, s, s, 0, 0, 96, 96);
  tip.lastChild.textContent = data.names[data.labels[best]];
  tip.style.display = "block"; tip.style.left = event.clientX + 14 + "px"; tip.style.top = event.clientY + 14 + "px";
}
maps.forEach((map) => draw(map, -1));
</script></body></html>
"""
