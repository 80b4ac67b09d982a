// Pages of the studio: a clip is chosen and cut, a run is watched, its videos run in step.
"use strict";
const one = (where, root = document) => root.querySelector(where);
const all = (where, root = document) => [...root.querySelectorAll(where)];
const post = (to, fields) => fetch(to, { method: "POST", body: new URLSearchParams(fields) });

// ---- Lists: videos load when they come into sight, and play while somebody points at them.
const sight = new IntersectionObserver((seen) => {
  for (const { target, isIntersecting } of seen) {
    if (!isIntersecting || target.src) continue;
    target.preload = "metadata";
    target.src = target.dataset.src;
    target.onloadeddata = () => { enlarge(target); target.currentTime = target.duration * 0.7; };
  }
}, { rootMargin: "200px" });
const enlarge = (video) => video.classList.toggle("tiny", video.videoWidth < 200);

function watchList(root) {
  for (const card of all(".run", root)) {
    const video = one("video", card);
    if (!video) continue;
    sight.observe(video);
    card.onpointerenter = card.onfocus = () => video.play().catch(() => {});
    card.onpointerleave = card.onblur = () => video.pause();
  }
}

// ---- New edit.
function newEdit(form) {
  const models = JSON.parse(form.dataset.models), video = one("#shown");
  const field = (name) => form.elements[name];
  const value = (name) => parseFloat(field(name).value) || 0;
  const error = one("#clip-error"), upload = one("#upload");
  let clip = null;
  const check = () => document.body.dispatchEvent(new Event("check"));
  const say = (text) => { error.hidden = !text; error.textContent = text || ""; };

  function choose(button) {
    all(".choice").forEach((each) => each.setAttribute("aria-pressed", each === button));
    const data = button.dataset;
    clip = { fps: +data.fps, seconds: +data.seconds };
    field("clip").value = data.clip;
    one("#cutting").hidden = false;
    video.src = `/clips/${data.clip}/shown.mp4`;
    video.onloadedmetadata = () => { enlarge(video); video.play().catch(() => {}); };
    video.onclick = () => (video.paused ? video.play() : video.pause());
    one("#strip").src = `/clips/${data.clip}/strip.jpg`;
    one("#clip-facts").textContent =
      `${clip.seconds.toFixed(2)} s, ${clip.fps.toFixed(2).replace(/\.?0+$/, "")} fps, ${data.sound ? "with sound" : "silent"}`;
    field("end").value = clip.seconds.toFixed(2);
    if (data.prompt && !field("prompt").value) field("prompt").value = data.prompt;
    if (data.static && !field("static_prompt").value) field("static_prompt").value = data.static;
    say(data.notes);
    draw();
    check();
  }

  async function taken(response) {
    upload.hidden = true;
    if (response.status !== 200) return say(response.text);
    const { id } = JSON.parse(response.text);
    const page = new DOMParser().parseFromString(await (await fetch("/new")).text(), "text/html");
    one(".choices").replaceChildren(...one(".choices", page).childNodes);
    listen();
    one(`[data-clip="${id}"]`).click();
  }

  function send(file) {
    say("");
    if (file.size > form.dataset.most * 2 ** 20) return say(`${file.name} is larger than ${form.dataset.most} MiB.`);
    const request = new XMLHttpRequest();
    upload.hidden = false;
    upload.value = 0;
    request.upload.onprogress = (event) => { upload.value = event.loaded / event.total; };
    request.upload.onload = () => upload.removeAttribute("value");
    request.onload = () => taken({ status: request.status, text: request.responseText });
    request.onerror = () => taken({ status: 0, text: "The upload was cut off; try it again." });
    request.open("POST", "/clips");
    request.setRequestHeader("x-file-name", encodeURIComponent(file.name));
    request.send(file);
  }

  function draw() {
    const model = models[field("model").value] || {}, byWindow = field("region").value === "window";
    one("#by-prefix").hidden = byWindow;
    one("#by-window").hidden = !byWindow;
    words(model.words || []);
    const k = value("prefix_frames"), step = model.compression || 8;
    const latents = k > 0 ? Math.floor((k - 1) / step) + 1 : 0;
    const kept = latents ? (latents - 1) * step + 1 : 0;
    one("#k").textContent = k;
    if (!clip) return;
    const fps = model.fps || clip.fps, total = clip.seconds;
    const start = Math.min(value("start"), total), end = Math.min(value("end") || total, total);
    const used = Math.min(end, start + (model.frames ? model.frames / fps : Infinity));
    one("#k-told").textContent = `· ${latents} latent, ${kept} frames or ${(kept / fps).toFixed(2)} s stay`;
    const from = byWindow ? start + value("window_start") : start + kept / fps;
    const to = byWindow ? Math.min(used, start + value("window_end")) : used;
    const place = (where, left, right) => {
      const style = one(`#timeline .${where}`).style;
      style.setProperty("left", `${(100 * left) / total}%`);
      style.setProperty("width", `${(100 * Math.max(0, right - left)) / total}%`);
    };
    place("before", 0, start);
    place("after", end, total);
    place("kept", start, Math.min(from, used));
    place("anew", Math.min(from, used), Math.max(Math.min(from, used), to));
    place("unused", used, end);
  }

  let listed = "";
  function words(list) {
    const box = one("#words");
    box.hidden = !list.length;
    if (listed === list.join()) return;
    listed = list.join();
    one(".chips", box).replaceChildren(...list.map((word) => {
      const chip = document.createElement("button");
      chip.type = "button";
      chip.className = "chip pressable";
      chip.textContent = word;
      chip.onclick = () => {
        field("prompt").value = `${field("prompt").value.trim()} ${word}`.trim();
        check();
      };
      return chip;
    }));
  }

  function listen() { for (const each of all(".choice")) each.onclick = () => choose(each); }

  one("#file").onchange = (event) => event.target.files[0] && send(event.target.files[0]);
  const drop = one("#drop");
  drop.ondragover = (event) => { event.preventDefault(); drop.classList.add("over"); };
  drop.ondragleave = () => drop.classList.remove("over");
  drop.ondrop = (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    if (event.dataTransfer.files[0]) send(event.dataTransfer.files[0]);
  };
  for (const each of all("[data-bundled]")) {
    each.onclick = async () => {
      field("prompt").value = field("static_prompt").value = "";
      upload.hidden = false;
      upload.removeAttribute("value");
      const response = await post("/clips/bundled", { name: each.dataset.bundled });
      taken({ status: response.status, text: await response.text() });
    };
  }
  form.oninput = () => { draw(); check(); };
  for (const [name, at] of [["start", "start"], ["end", "end"]]) {
    field(name).onchange = () => { if (clip) video.currentTime = Math.min(value(at), clip.seconds); };
  }
  listen();
  draw();
  const before = field("clip").value && one(`[data-clip="${field("clip").value}"]`);
  if (before) before.click();
}

// ---- A run: what changes is sent, and its videos run in step.
function watchRun(article) {
  const chosen = new Set(), shown = new Map();
  let playing = !matchMedia("(prefers-reduced-motion: reduce)").matches;
  const figures = () => all("#videos figure:not([hidden])");
  const videos = () => figures().map((each) => one("video", each));
  const player = one("#player"), seek = one("#seek"), hear = one("#hear"), speed = one("#speed");

  function hearing() {
    const now = hear.value || "edited.mp4";
    const names = figures().map((each) => [each.dataset.file, each.dataset.name]);
    hear.replaceChildren(new Option("off", "off"), ...names.map(([file, name]) => new Option(name, file)));
    hear.value = names.some(([file]) => file === now) ? now : "off";
    if (!hear.dataset.used) hear.value = "off";
    for (const each of figures()) one("video", each).muted = each.dataset.file !== hear.value;
  }

  function dress() {
    for (const figure of all("#videos figure")) {
      const video = one("video", figure), file = figure.dataset.file;
      if (shown.has(file)) figure.hidden = !shown.get(file);
      if (!figure.hidden && !video.src) { video.preload = "auto"; video.src = video.dataset.src; }
      video.onloadeddata = () => enlarge(video);
      if (video.readyState >= 2) enlarge(video);
      video.onclick = () => { playing = !playing; step(); };
    }
    for (const chip of all("[data-show]")) {
      const figure = one(`#videos figure[data-file="${CSS.escape(chip.dataset.show)}"]`);
      chip.setAttribute("aria-pressed", String(!figure.hidden));
      chip.onclick = () => { shown.set(chip.dataset.show, figure.hidden); dress(); restart(); };
    }
    player.hidden = !figures().length;
    const now = figures();
    for (const each of all("#videos figure")) each.classList.toggle("main", each === now.at(-1));
    one("#videos .many")?.setAttribute("data-count", now.length);
    one("#videos .many")?.toggleAttribute("data-odd", now.length % 2 === 1);
    hearing();
    step();
  }

  function restart() { for (const each of videos()) each.currentTime = 0; }
  function step() {
    one("#play").textContent = playing ? "Pause" : "Play";
    for (const each of videos()) {
      each.playbackRate = +speed.value;
      if (playing) each.play().catch(() => {}); else each.pause();
    }
  }
  const longest = () => videos().reduce((a, b) => ((b.duration || 0) > (a?.duration || 0) ? b : a), null);
  const move = (seconds) => { for (const each of videos()) each.currentTime = Math.max(0, seconds); };
  const frame = (by) => { playing = false; step(); const lead = longest(); if (lead) move(lead.currentTime + by / 12.5); };

  function beat() {
    const lead = longest();
    if (lead && lead.duration) {
      if (playing && videos().every((each) => each.ended || each.readyState < 2) && lead.ended) { restart(); step(); }
      one("#now").textContent = `${lead.currentTime.toFixed(2)} / ${lead.duration.toFixed(2)} s`;
      if (document.activeElement !== seek || playing) seek.value = (1000 * lead.currentTime) / lead.duration;
      for (const each of videos()) {
        if (each !== lead && !each.ended && !each.seeking && Math.abs(each.currentTime - lead.currentTime) > 0.06) {
          each.currentTime = Math.min(lead.currentTime, each.duration || 0);
        }
      }
    }
    requestAnimationFrame(beat);
  }

  one("#play").onclick = () => { playing = !playing; step(); };
  one("#back").onclick = () => frame(-1);
  one("#ahead").onclick = () => frame(1);
  seek.oninput = () => { playing = false; step(); const lead = longest(); if (lead) move((seek.value / 1000) * lead.duration); };
  speed.onchange = step;
  hear.onchange = () => { hear.dataset.used = "1"; hearing(); };
  document.addEventListener("keydown", (event) => {
    if (event.target.closest("input, select, textarea, button")) return;
    if (event.key === " ") { event.preventDefault(); playing = !playing; step(); }
    if (event.key === "ArrowLeft") frame(-1);
    if (event.key === "ArrowRight") frame(1);
  });

  function picking() {
    const form = one("#picking");
    if (!form) return;
    const boxes = all("input[type=checkbox]", form);
    for (const box of boxes) {
      box.checked = !box.disabled && chosen.has(box.value);
      box.onchange = () => { box.checked ? chosen.add(box.value) : chosen.delete(box.value); picking(); };
    }
    for (const dot of all(".dot")) {
      const box = boxes.find((each) => each.value === dot.dataset.evaluation);
      dot.classList.toggle("chosen", chosen.has(dot.dataset.evaluation));
      dot.onclick = () => box && !box.disabled && box.click();
    }
    const ready = [...chosen].filter((each) => boxes.some((box) => box.value === each && !box.disabled));
    one("#render").disabled = !ready.length;
    one("#pick").disabled = ready.length !== 1;
    one("#render").textContent = ready.length > 1 ? `Render ${ready.length}` : "Render";
    form.onsubmit = async (event) => {
      event.preventDefault();
      const fields = new URLSearchParams(new FormData(form));
      const to = event.submitter?.getAttribute("formaction") || form.getAttribute("action");
      for (const each of ready) shown.set(`picks/${each.padStart(4, "0")}.mp4`, true);
      chosen.clear();
      picking();
      one("#picking-told").textContent = "in the queue";
      const answer = await fetch(to, { method: "POST", body: fields });
      if (!answer.ok) one("#picking-told").textContent = await answer.text();
    };
    for (const button of all("[data-star]", form)) {
      button.onclick = () => post("/do/star", { run: form.elements.run.value, evaluation: button.dataset.star });
    }
  }

  function take(parts) {
    for (const [name, text] of Object.entries(parts)) {
      const place = document.getElementById(name);
      if (!place || place.dataset.sent === text) continue;
      place.dataset.sent = text;
      const before = new Map(all("video", place).map((each) => [each.getAttribute("src"), each]));
      const scrolled = one(".tall", place)?.scrollTop, open = one("details", place)?.open;
      place.innerHTML = text; // made by the server's templates, which escape every value
      for (const fresh of all("video[src]", place)) {
        const old = before.get(fresh.getAttribute("src"));
        if (old && name === "videos" && !old.error) fresh.replaceWith(old); // it plays on
      }
      if (scrolled) one(".tall", place).scrollTop = scrolled;
      if (open) one("details", place).open = true;
      window.htmx?.process(place);
    }
    if ("videos" in parts) dress();
    if ("candidates" in parts) picking();
  }

  dress();
  picking();
  requestAnimationFrame(beat);
  const live = new EventSource(article.dataset.live);
  live.onmessage = (event) => take(JSON.parse(event.data));
  addEventListener("pagehide", () => live.close());
}

document.addEventListener("DOMContentLoaded", () => {
  watchList(document);
  document.body.addEventListener("htmx:afterSwap", (event) => watchList(event.target));
  if (one("form#new")) newEdit(one("form#new"));
  if (one("#run")) watchRun(one("#run"));
});
