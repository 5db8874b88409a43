"""How the SVG looks, on light and on dark backgrounds.

Pure: no I/O. Plain rules and one override for dark screens: no variables, which not every program
that shows an SVG knows. Fonts are generic ones.
"""

# Class -> declarations on a light background, and on a dark one.
_RULES = {
    ".page": ("fill:#ffffff;stroke:#d0d7de", "fill:#0d1117;stroke:#30363d"),
    ".card": ("fill:#f6f8fa;stroke:#afb8c1", "fill:#161b22;stroke:#484f58"),
    ".router": ("fill:#fff8e6;stroke:#bf8700", "fill:#272115;stroke:#bb8009"),
    ".reflector": ("fill:#f3f0ff;stroke:#8250df", "fill:#1f1a2e;stroke:#a371f7"),
    ".lost": ("stroke:#cf222e;stroke-dasharray:6 4", "stroke:#f85149"),
    "text": ("fill:#1f2328", "fill:#e6edf3"),
    ".dim": ("fill:#59636e", "fill:#9198a1"),
    ".bad": ("fill:#cf222e", "fill:#ff7b72"),
    ".odd": ("fill:#9a6700", "fill:#d29922"),
    ".free": ("fill:#dfe5eb", "fill:#30363d"),
    ".used": ("fill:#0969da", "fill:#4493f8"),
    ".lent": ("fill:#e16f24", "fill:#f0883e"),
    ".reserved": ("fill:#8c959f", "fill:#7d8590"),
    ".up": ("stroke:#1a7f37", "stroke:#3fb950"),
    ".dot": ("fill:#1a7f37", "fill:#3fb950"),
    ".down": ("stroke:#cf222e;stroke-dasharray:7 5", "stroke:#f85149"),
    ".unknown": ("stroke:#6e7781;stroke-dasharray:2 4", "stroke:#8b949e"),
    ".tube": ("stroke:#c9b5f5", "stroke:#4b3a75"),
    ".VXLAN": ("stroke:#9fd3d8", "stroke:#1f5c63"),
    ".cross": ("stroke:#cf222e", "stroke:#f85149"),
}
_SHAPES = """text{font:11.5px ui-monospace,monospace}
.title{font:bold 14px ui-monospace,monospace}
.head{font:bold 15px sans-serif}
.page,.card{stroke-width:1}
.up,.down,.unknown,.tube,.cross{fill:none;stroke-linecap:round}
.down,.cross{stroke-width:2.2}
.tube{stroke-width:7}
"""


def style() -> str:
    """The content of the SVG's style element."""
    light = "".join(f"{name}{{{rules}}}\n" for name, (rules, _) in _RULES.items())
    dark = "".join(f"{name}{{{rules}}}\n" for name, (_, rules) in _RULES.items())
    return f"{_SHAPES}{light}@media (prefers-color-scheme:dark){{\n{dark}}}\n"
