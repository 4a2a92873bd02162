"""The style sheets of the pages: dark and light, wide and narrow, on paper; only below ``.perfdb``.

``COLOURS`` and ``SHAPES`` also dress the bars and lines of the dashboard, whose page is its own.
"""

_LIGHT = """--paper:#fff;--ink:#1a1a1a;--muted:#5c5c5c;--line:#dedede;--tile:#f5f6f7;--critical:#0072b2;
--beside:#9ccbe8;--edge:#4d88ab;--failed:#ba4900;--failed-beside:#f3c09b;--second:#00795a"""

_DARK = """--paper:#14171a;--ink:#e9eaeb;--muted:#a6adb4;--line:#343a40;--tile:#1d2125;--critical:#56b4e9;
--beside:#2a536d;--edge:#5f93b3;--failed:#ff8f45;--failed-beside:#6b3f22;--second:#2fc79b"""

COLOURS = f"""
.perfdb{{{_LIGHT}}}
@media screen and (prefers-color-scheme:dark){{.perfdb{{{_DARK}}}}}
"""

# JupyterLab, VS Code and Colab have a theme of their own, whatever that of the machine is.
_LIGHT_NOTEBOOK = (
    ":is([data-jp-theme-light=true],.vscode-light,.vscode-high-contrast-light,html[theme=light])"
)
_DARK_NOTEBOOK = (
    ":is([data-jp-theme-light=false],.vscode-dark,.vscode-high-contrast:not(.vscode-high-contrast-light),"
    "html[theme=dark])"
)
_OF_NOTEBOOK = f"""
@media screen{{{_LIGHT_NOTEBOOK} .perfdb{{{_LIGHT}}}
{_DARK_NOTEBOOK} .perfdb{{{_DARK}}}
.perfdb:is(.jp-OutputArea-output *){{max-height:60rem;overflow:auto}}}}
"""

# A chart is drawn in dark ink on white; light becomes dark, and each hue stays what it was.
_NEGATIVE = "filter:invert(.92) hue-rotate(180deg)"
PICTURE = f"""
.perfdb-picture{{max-width:100%;border-radius:6px}}
@media screen and (prefers-color-scheme:dark){{.perfdb-picture{{{_NEGATIVE}}}}}
@media screen{{{_LIGHT_NOTEBOOK} .perfdb-picture{{filter:none}}
{_DARK_NOTEBOOK} .perfdb-picture{{{_NEGATIVE}}}}}
"""

_PAGE = """
.perfdb{background:var(--paper);color:var(--ink);
font:15px/1.45 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;
padding:1.2rem clamp(.8rem,3vw,2rem);max-width:1200px;margin:0 auto;box-sizing:border-box;text-align:left}
.perfdb *{box-sizing:border-box}
.perfdb h1{font-size:1.5rem;line-height:1.25;margin:0 0 .3rem;overflow-wrap:anywhere}
.perfdb h2{font-size:1.08rem;margin:1.8rem 0 .3rem}
.perfdb h3{font-size:.95rem;font-weight:600;margin:.7rem 0 .1rem;overflow-wrap:anywhere}
.perfdb p{margin:.2rem 0 .6rem}
.perfdb .note,.perfdb .sub{color:var(--muted);font-size:.9rem;overflow-wrap:anywhere}
.perfdb .error{border-left:4px solid var(--failed);padding:.4rem .8rem;background:var(--tile);
overflow-wrap:anywhere}
.perfdb .tiles{display:grid;grid-template-columns:repeat(auto-fill,minmax(138px,1fr));gap:.5rem;
margin:.9rem 0}
.perfdb .tiles div{background:var(--tile);border-radius:6px;padding:.45rem .7rem;min-width:0}
.perfdb dt{color:var(--muted);font-size:.78rem}
.perfdb dd{margin:0;font-weight:600;overflow-wrap:anywhere}
.perfdb .wide{overflow-x:auto;max-width:100%}
.perfdb table{border-collapse:collapse;width:100%;font-size:.92rem;margin:.3rem 0;color:inherit}
.perfdb th{color:var(--muted);font-weight:500;font-size:.82rem;text-align:left;vertical-align:bottom}
.perfdb th,.perfdb td{padding:.25rem .6rem;border-bottom:1px solid var(--line);text-align:left;
background:none}
.perfdb th:first-child,.perfdb td:first-child{padding-left:0}
.perfdb td{overflow-wrap:anywhere;vertical-align:top;min-width:6.5rem}
.perfdb th.n,.perfdb td.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap;min-width:0}
.perfdb td:first-child{min-width:10rem}
.perfdb td.w{min-width:12rem}
.perfdb td.of{padding-left:1.1em}
.perfdb tr.group th{color:var(--ink);font-weight:600;padding:.9rem 0 .25rem}
.perfdb .plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,30rem),1fr));gap:.6rem 2rem}
.perfdb .plots>div{min-width:0}
.perfdb code{font-family:ui-monospace,SFMono-Regular,Menlo,monospace;font-size:.88em;overflow-wrap:anywhere}
.perfdb details{border-bottom:1px solid var(--line);padding:.35rem 0}
.perfdb td details{border:0;padding:0}.perfdb .more>details{margin-left:1.1em}
.perfdb summary{cursor:pointer;overflow-wrap:anywhere}
.perfdb footer{margin-top:2rem;color:var(--muted);font-size:.85rem;overflow-wrap:anywhere}
@media (max-width:640px){.perfdb h1{font-size:1.25rem}.perfdb td.w{min-width:18rem}
.perfdb .sep{display:none}.perfdb .sep+*{display:block}}
@media print{.perfdb{padding:0;zoom:.8;print-color-adjust:exact;-webkit-print-color-adjust:exact}
.perfdb td:first-child{min-width:7rem}.perfdb td.w{min-width:12rem}
.perfdb :is(details,tr,.tiles,.plots>div,.rows>*){break-inside:avoid}
.perfdb :is(h1,h2,h3,summary,.keys,.head){break-after:avoid}.perfdb .wide{overflow:visible}}
"""

SHAPES = """
.perfdb .rows{display:grid;
grid-template-columns:minmax(7rem,max-content) minmax(8rem,1fr) max-content max-content;
column-gap:.8rem;align-items:center;margin:.5rem 0}
.perfdb .rows>*{min-width:0}
.perfdb .name{max-width:22rem;overflow-wrap:anywhere;padding:.12rem 0;line-height:1.25}
.perfdb .num{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.perfdb .head,.perfdb .faint{color:var(--muted);font-size:.85rem}
.perfdb svg{display:block;width:100%;overflow:visible}
.perfdb .bar{height:20px}.perfdb .bar.inner{height:13px}
.perfdb .plot{height:150px;border-bottom:1px solid var(--muted);border-top:1px dotted var(--line)}
.perfdb .plot.low{height:90px}
.perfdb .plot.axed{width:calc(100% - 4.2rem)}.perfdb .plot.axed,.perfdb .plot.axed+*{margin-left:4.2rem}
.perfdb .plot text{font-size:11px;fill:var(--muted)}
.perfdb .at-y{text-anchor:end}.perfdb .at-x{text-anchor:middle}
.perfdb .scale{display:flex;justify-content:space-between;color:var(--muted);font-size:.82rem;gap:1rem;
margin:.15rem 0}
.perfdb .beside{fill:var(--beside);stroke:var(--edge);stroke-width:1;vector-effect:non-scaling-stroke}
.perfdb .critical{fill:var(--critical)}
.perfdb .failed .critical{fill:var(--failed)}
.perfdb .failed .beside{fill:var(--failed-beside);stroke:var(--failed)}
.perfdb .open .beside{fill:none;stroke-dasharray:4 3}.perfdb .open .critical{opacity:.5}
.perfdb .none{fill:var(--muted);opacity:.45}
.perfdb .wait{fill:var(--paper);stroke:var(--ink);stroke-width:1;vector-effect:non-scaling-stroke}
.perfdb .grid{stroke:var(--line);stroke-width:1;vector-effect:non-scaling-stroke}
.perfdb .line{fill:none;stroke:var(--critical);stroke-width:2;vector-effect:non-scaling-stroke;
stroke-linejoin:round}
.perfdb .line.second{stroke:var(--second)}
.perfdb .area{fill:var(--critical);opacity:.15}.perfdb .area.second{fill:var(--second)}
.perfdb .dot{fill:none;stroke:var(--critical);stroke-width:6;stroke-linecap:round;
vector-effect:non-scaling-stroke}
.perfdb .dot.failed{stroke:var(--failed);stroke-width:9;stroke-linecap:square}
.perfdb .ribbon{fill:var(--second);opacity:.16}.perfdb .pause{fill:var(--muted);opacity:.13}
.perfdb .event{stroke:var(--muted);stroke-width:1;stroke-dasharray:2 3;vector-effect:non-scaling-stroke}
.perfdb .beyond{fill:var(--ink)}.perfdb .beyond.failed{fill:var(--failed)}
.perfdb .keys span{display:inline-block;margin-right:1em}
.perfdb .key{display:inline-block;width:1.5em;height:.8em;margin-right:.35em;vertical-align:-.05em;
border-radius:2px}
.perfdb .key.k1{background:var(--critical)}.perfdb .key.k2{background:var(--beside);
border:1px solid var(--edge)}
.perfdb .key.k3{background:var(--failed)}.perfdb .key.k4{background:var(--paper);
border:1px solid var(--ink)}
.perfdb .key.k5{border:1px dashed var(--edge)}
.perfdb .in1{padding-left:1.1em}.perfdb .in2{padding-left:2.2em}.perfdb .in3{padding-left:3.3em}
.perfdb .in4{padding-left:4.4em}.perfdb .in5{padding-left:5.5em}.perfdb .in6{padding-left:6.6em}
.perfdb .bad{color:var(--failed);font-weight:600}
@media (max-width:640px){.perfdb .rows{grid-template-columns:minmax(0,1fr) max-content max-content;
grid-auto-flow:row dense}
.perfdb .rows .name{padding-top:.4rem}.perfdb .rows .num{align-self:end}
.perfdb .rows :is(svg,.note){grid-column:1/-1}
.perfdb .rows .axis,.perfdb .rows span:empty{display:none}}
"""

# A notebook dresses all that a cell shows: stripes, cells to the right, columns of one width. Beside an id
# its rules weigh nothing; what ours say nothing of is as the browser has it.
_OWN = ":is(#perfdb-report,.perfdb) "
_BARE = ".perfdb :where(h1,h2,h3,p,dl,dt,dd,table,thead,tbody,tr,th,td,code,details,summary){all:revert}\n"

STYLE = COLOURS + _OF_NOTEBOOK + (_BARE + _PAGE + SHAPES).replace(".perfdb ", _OWN)
