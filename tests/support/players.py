"""dash.js and Shaka Player, in Chromium."""

import contextlib
import pathlib
import subprocess

from .wait import wait_until

HERE = pathlib.Path(__file__).parents[1] / "clients" / "players"

# What is served has no gaps to jump over. And when a busy machine stalls it shortly before the end, dash.js jumps to the end,
# has the element end, and then goes back half a second, where it stays.
DASHJS = """([url]) => {
  const video = document.body.appendChild(document.createElement('video'));
  video.muted = true;
  window.failed = [];
  const player = window.dashjs.MediaPlayer().create();
  player.on('error', (e) => window.failed.push(JSON.stringify(e.error ?? e)));
  player.updateSettings({streaming: {gaps: {jumpGaps: false}}});
  player.initialize(video, url, true);
  window.player = player;
  window.behind = () => player.isDynamic() ? player.getCurrentLiveLatency() : null;
}"""

SHAKA = """async ([url, settings]) => {
  const video = document.body.appendChild(document.createElement('video'));
  video.muted = true;
  window.failed = [];
  const player = new shaka.Player();
  player.configure(settings ?? {});
  await player.attach(video);
  player.addEventListener('error', (e) => window.failed.push(`${e.detail.code} ${e.detail.data}`));
  window.player = player;
  window.behind = () => player.isLive() ? player.getStats().liveLatency : null;
  try { await player.load(url); await video.play(); } catch (e) { window.failed.push(`${e.code} ${e.data} ${e.message}`); }
}"""

PLAYERS = {"dash.js": ("dashjs/dist/modern/umd/dash.all.min.js", DASHJS), "Shaka Player": ("shaka-player/dist/shaka-player.compiled.js", SHAKA)}


@contextlib.contextmanager
def opened(chromium, server, name):
    """Gives what opens a playlist or manifest in a page of its own by one of the players."""
    if not (HERE / "node_modules").exists():
        subprocess.run(["npm", "ci", "--silent", "--ignore-scripts"], cwd=HERE, check=True, timeout=300)
    script, run = PLAYERS[name]
    context = chromium.new_context()

    def open(url, settings=None):
        page = context.new_page()
        page.goto(server.url + "/healthz")
        page.add_script_tag(path=HERE / "node_modules" / script)
        page.evaluate(run, [url, settings])
        return page

    yield open
    context.close()


def failed(page):
    return page.evaluate("window.failed")


STATE = "(() => { const v = document.querySelector('video'); return v.ended ? null : [v.currentTime, v.duration, v.paused, v.readyState, v.buffered.length && v.buffered.end(0)]; })()"


def ended(page):
    states = []
    wait_until("it plays to its end", lambda: failed(page) or states.append(page.evaluate(STATE)) or states[-1] is None or len(states) > 1000, 60)
    assert failed(page) == [] and states[-1] is None, states[-1]
