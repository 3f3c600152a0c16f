#!/usr/bin/env python3
"""Draws what bench/growth measured:   growth_plot.py growth.jsonl growth.svg

Measured are tokens per second of processor time (of wall time where threads vary); predicted is one rate of FLOPs for
all points, the median of those on one thread, over the FLOPs that `plan` counts.
"""

import json
import math
import statistics
import sys

TITLES = {"length": "tokens of a text (4096 a step)", "batch": "texts of 128 tokens", "links": "links",
          "threads": "threads"}
WIDTH, HEIGHT, LEFT, TOP = 260, 170, 62, 30


def rates(points, series):
    seconds = "seconds" if series == "threads" else "processor"
    rate = statistics.median(p["flops"] / p[seconds] for p in points if p["threads"] == 1)
    for p in points:
        if p["series"] == series:
            yield p["x"], p["tokens"] / p[seconds], p["tokens"] / p["flops"] * rate * p["threads"]


def panel(points, series, dx, dy):
    data = list(rates(points, series))
    top = 1.1 * max(max(p[1:]) for p in data)
    first, last = math.log2(data[0][0]), math.log2(data[-1][0])
    x = lambda v: dx + LEFT + (math.log2(v) - first) / (last - first) * (WIDTH - 20) + 10
    y = lambda v: dy + TOP + HEIGHT * (1 - v / top)
    out = [f'<text x="{dx + LEFT + WIDTH / 2}" y="{dy + TOP - 10}" text-anchor="middle">{TITLES[series]}</text>',
           f'<rect x="{dx + LEFT}" y="{dy + TOP}" width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="#999"/>']
    step = 10 ** math.floor(math.log10(top / 2))
    step *= 5 if top / step > 10 else 2 if top / step > 4 else 1
    for i in range(int(top / step) + 1):
        out.append(f'<text x="{dx + LEFT - 5}" y="{y(i * step) + 4:.1f}" text-anchor="end">{i * step:,.0f}</text>')
    for v, *_ in data:
        out.append(f'<text x="{x(v):.1f}" y="{dy + TOP + HEIGHT + 15}" text-anchor="middle">{v}</text>')
    for k, style in ((2, 'stroke="#c60" stroke-dasharray="5 3"'), (1, 'stroke="#06c"')):
        path = " ".join(f"{x(p[0]):.1f},{y(p[k]):.1f}" for p in data)
        out.append(f'<polyline points="{path}" fill="none" stroke-width="2" {style}/>')
    out += [f'<circle cx="{x(p[0]):.1f}" cy="{y(p[1]):.1f}" r="3" fill="#06c"/>' for p in data]
    return out


def main():
    points = [json.loads(line) for line in open(sys.argv[1])]
    wide, high = WIDTH + LEFT + 20, HEIGHT + TOP + 40
    body = [line for i, s in enumerate(TITLES) for line in panel(points, s, i % 2 * wide, i // 2 * high + 20)]
    with open(sys.argv[2], "w") as file:
        file.write(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * wide} {2 * high + 20}" '
                   'font-family="sans-serif" font-size="11">\n<rect width="100%" height="100%" fill="white"/>\n'
                   '<text x="62" y="16">Training, tokens per second: <tspan fill="#06c">measured</tspan>, '
                   '<tspan fill="#c60">predicted</tspan></text>\n' + "\n".join(body) + "\n</svg>\n")


main()
