// One page of a survey: videos in step, choices kept as they are made, keys. All of it works without.
'use strict';
const form = document.getElementById('answer');
const kept = document.getElementById('kept');
const large = document.getElementById('large');
const videos = [...form.querySelectorAll('video')];
const places = [...form.querySelectorAll('[data-place]')];
const names = places.map(place => place.dataset.place);
const all = selector => [...form.querySelectorAll(selector)];

// Videos run together, and begin together when all have ended.
const play = document.getElementById('play');
let wanted = !matchMedia('(prefers-reduced-motion: reduce)').matches;
const start = () => videos.forEach(v => { v.currentTime = 0; v.play().catch(() => {}); });
function run(on) {
  wanted = on;
  play.textContent = on ? 'Pause' : 'Play';
  videos.forEach(v => on ? v.play().catch(() => {}) : v.pause());
}
for (const v of videos) {
  v.controls = false;
  const mark = () => v.classList.toggle('pixels', v.videoWidth < 200);
  v.readyState ? mark() : v.addEventListener('loadedmetadata', mark);
  v.addEventListener('ended', () => { if (wanted && videos.every(v => v.ended || v.error)) start(); });
  v.addEventListener('click', () => enlarge(v));
}
play.addEventListener('click', () => run(!wanted));
document.getElementById('again').addEventListener('click', () => { run(true); start(); });
play.parentElement.hidden = false;
run(wanted);
const ready = v => new Promise(done => {
  if (v.readyState > 2) done();
  for (const event of ['canplay', 'error']) v.addEventListener(event, done, { once: true });
});
Promise.all(videos.map(ready)).then(() => { if (wanted) start(); });

// One video large beside the source, with its sound.
const [left, right] = large.querySelectorAll('video');
function enlarge(video) {
  const own = video.closest('.candidate');
  left.parentElement.hidden = !own;
  left.src = videos[0].src;
  right.src = video.src;
  right.muted = false;
  right.nextElementSibling.textContent = own ? own.id.at(-1) : 'Source';
  for (const v of [left, right]) v.classList.toggle('pixels', video.videoWidth < 200);
  run(false);
  large.showModal();
  right.play().catch(() => {});
}
right.addEventListener('play', () => { left.currentTime = right.currentTime; left.play().catch(() => {}); });
right.addEventListener('pause', () => left.pause());
right.addEventListener('seeked', () => { left.currentTime = right.currentTime; });
large.addEventListener('close', () => { right.pause(); left.pause(); run(true); });
large.addEventListener('click', event => { if (event.target === large) large.close(); });
for (const button of all('.larger')) {
  button.hidden = false;
  button.addEventListener('click', () => enlarge(button.parentElement.querySelector('video')));
}

// A video has one place, a place one video; what is chosen is stored at once.
function show() {
  for (const place of places) {
    const chosen = form.querySelector(`[name=${place.dataset.place}]:checked`);
    place.querySelector('b').textContent = chosen ? chosen.value : '–';
    place.classList.toggle('given', !!chosen);
  }
  for (const one of all('.candidate')) {
    const chosen = one.querySelector('[type=radio]:checked');
    one.dataset.place = chosen ? names.indexOf(chosen.name) + 1 : '';
  }
}
const choices = `${form.getAttribute('action')}/choice`;
const made = () => Number(form.dataset.shown) + performance.now() / 1000;  // on the server's clock
const fields = () => new URLSearchParams([...new FormData(form), ['made', made()]]);
let storing = Promise.resolve();
let waiting = 0;
function keep() {
  show();
  kept.textContent = '';
  waiting += 1;
  const body = fields();
  const store = () => fetch(choices, { method: 'POST', body, keepalive: true })
    .then(answer => answer.ok ? 'kept' : answer.text()).catch(() => 'not stored: no connection')
    .then(said => { waiting -= 1; if (!waiting) kept.textContent = said; });
  storing = storing.then(store);  // in the order in which they were made
}
form.addEventListener('submit', event => {  // what is on its way arrives before the answer
  if (!waiting) return;
  event.preventDefault();
  storing.then(() => form.requestSubmit(event.submitter));
});
addEventListener('pagehide', () => { if (waiting) navigator.sendBeacon(choices, fields()); });
form.addEventListener('change', event => {
  const { type, name, value } = event.target;
  if (type === 'radio')
    for (const other of all(`[type=radio][value=${value}]:checked`)) if (other.name !== name) other.checked = false;
  keep();
});
for (const radio of all('[type=radio]'))
  radio.addEventListener('click', () => {  // a second click takes a place back
    if (radio.dataset.was) { radio.checked = false; keep(); }
    all('[type=radio]').forEach(each => { each.checked ? each.dataset.was = 1 : delete each.dataset.was; });
  });
all('[type=radio]:checked').forEach(radio => { radio.dataset.was = 1; });
document.getElementById('chosen').hidden = false;
show();

// Keys. Enter does not send by accident.
const near = () => document.activeElement.closest('.candidate');
const keys = {
  x: () => near()?.querySelector('[type=checkbox]').click(),
  l: () => near() && enlarge(near().querySelector('video')),
  p: () => run(!wanted),
};
document.addEventListener('keydown', event => {
  if (event.ctrlKey || event.metaKey || event.altKey || large.open) return;
  if (event.key === 'Enter' && event.target.matches('input')) return event.preventDefault();
  const key = event.key.toLowerCase();
  const candidate = /^[a-h]$/.test(key) && document.getElementById(`candidate-${key.toUpperCase()}`);
  const place = near()?.querySelectorAll('[type=radio]')[Number(key) - 1];
  const act = candidate ? () => { candidate.focus(); candidate.scrollIntoView({ block: 'nearest' }); }
    : place ? () => place.click() : keys[key];
  if (act) { event.preventDefault(); act(); }
});
