// Asks for the swarm about once a second and shows it. All text goes in as text, never as HTML.

import {chart, figure, measured, meetings, spark} from "/draw.js";

const FEW = 8, MANY = 24, PAUSE_MS = 1000, LONG_PAUSE_MS = 2000, HIDDEN_MS = 5000;
const WORDS = {training: "training", joining: "joining", ending: "ending", ended: "ended", lost: "lost", killed: "killed", watching: "watching"};
const SERVED = {peer: "this peer itself", watcher: "the watcher itself", demo: "the demo itself"};
const SEATS = {peer: "seen from this peer", watcher: "seen by a watcher", demo: "all peers of this demo"};
const key = new URLSearchParams(location.hash.slice(1)).get("key") || "";
const by = (id) => document.getElementById(id);
let swarm = null, chosen = -1 /* number of a peer */, heard = 0, failed = 0;

function element(name, {text = "", cls = "", title = ""} = {}, ...children) {
  const made = document.createElement(name);
  if (text) made.textContent = text;
  if (cls) made.className = cls;
  if (title) made.title = title;
  made.append(...children);
  return made;
}

const count = (value) => (value < 1e12 ? Math.round(value).toLocaleString("en") : figure(value));
const percent = (share) => (share === null ? "–" : `${measured(100 * share)} %`);
const alive = (peer) => !["ended", "lost", "killed", "watching"].includes(peer.state);
const plural = (number, noun) => `${count(number)} ${noun}${number === 1 ? "" : "s"}`;

function bytes(size) {
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let at = 0;
  while (size >= 999.5 && at < units.length - 1) { size /= 1000; at += 1; }
  if (size >= 1e5) return `${figure(size)} ${units[at]}`;
  return `${at && size < 99.5 ? size.toFixed(1) : size.toFixed(0)} ${units[at]}`;
}

function middle(values) {
  const known = values.filter((value) => value !== null && Number.isFinite(value)).sort((a, b) => a - b);
  return known.length ? known[Math.floor((known.length - 1) / 2)] : null;
}

function since(peer) {
  const seconds = Math.max(0, swarm.now - peer.since);
  if (seconds < 90) return `${Math.round(seconds)} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;
}

function colorOf(at) {
  return `var(--p${((at % FEW) + FEW) % FEW})`;
}

function tiles(peers) {
  const living = peers.filter(alive);
  const losses = living.map((peer) => peer.loss).filter((loss) => loss !== null);
  const counts = ["joining", "ending", "ended"].map((state) => [state, peers.filter((peer) => peer.state === state).length]);
  const gone = peers.filter((peer) => peer.state === "lost" || peer.state === "killed").length;
  const others = counts.filter(([, number]) => number).map(([state, number]) => `${number} ${state}`).join(", ");
  const sent = peers.reduce((sum, peer) => sum + peer.bytes_sent, 0);
  const speed = middle(living.map((peer) => peer.bytes_per_s || null));
  const rounds = Math.max(0, ...peers.map((peer) => peer.round));
  const last = swarm.rounds.at(-1);
  const step = middle(living.map((peer) => peer.step));
  const tile = (name, value, note, bad = false) =>
    element("div", {cls: "tile"}, element("h3", {text: name}), element("strong", {text: value}), element("span", {text: note, cls: bad ? "bad" : ""}));
  by("tiles").replaceChildren(
    tile("Peers", count(living.length), gone ? `${gone} lost${others ? `, ${others}` : ""}` : others || "all are here", gone > 0),
    tile("Step", step === null ? "–" : count(step), living.length > 1 ? `up to ${count(Math.max(...living.map((p) => p.step)))}` : "so far"),
    tile("Loss", measured(middle(losses)), losses.length > 1 ? `${measured(Math.min(...losses))} to ${measured(Math.max(...losses))}` : "of the last step"),
    tile("Round", count(rounds), last ? `last: ${plural(last.size, "peer")}${last.seconds === null ? "" : `, ${figure(last.seconds)} s`}` : "none yet"),
    tile("Disagreement", percent(swarm.disagreement), "of the last group"),
    tile("Sent", bytes(sent), speed === null ? "in rounds" : `${bytes(speed)}/s in a round`),
  );
}

function charts(peers) {
  const few = peers.length <= FEW;
  const curves = peers.map((peer) => ({
    points: peer.losses,
    title: peer.name,
    color: few || peer.number === chosen ? colorOf(peer.number) : "",
    kind: `${few ? "" : "many"} ${chosen < 0 ? "" : peer.number === chosen ? "chosen" : "faded"}`,
  }));
  const mine = curves.find((curve) => curve.kind.includes("chosen"));
  if (!few) curves.push({points: medianCurve(peers), title: "median", kind: "middle-of-all"});
  if (mine) curves.push(mine);
  const known = peers.flatMap((peer) => peer.losses.map(([, loss]) => loss));
  const logarithmic = known.length > 0 && Math.min(...known) > 0 && Math.max(...known) > 50 * Math.min(...known);
  by("loss-scale").textContent = logarithmic ? "by step, over decades" : "by step";
  chart(by("loss"), curves, {logarithmic, label: "Training loss of each peer by step"});
  if (peers.length > 1 && by("loss").querySelector("svg")) by("loss").append(legend(peers, few));
  chart(by("gap"), [{points: swarm.disagreements, color: "var(--accent)"}], {logarithmic: true, percent: true, label: "Disagreement by round"});
  meetings(by("met"), peers, swarm.rounds, {color: colorOf, chosen});
}

function legend(peers, few) {
  const item = (text, color) => {
    const swatch = element("i", {cls: "swatch"});
    swatch.style.background = color;
    return element("li", {}, swatch, text);
  };
  const mine = peers.find((peer) => peer.number === chosen);
  const drawn = peers.filter((peer) => peer.losses.length).sort((one, other) => one.number - other.number);
  const items = few ? drawn.map((peer) => item(peer.name, colorOf(peer.number)))
    : [item("median", "var(--accent)"), item(`each of ${peers.length} peers`, "var(--soft)")];
  if (!few && mine) items.push(item(mine.name, colorOf(chosen)));
  return element("ul", {cls: "legend"}, ...items);
}

function medianCurve(peers) {
  const points = peers.flatMap((peer) => peer.losses).sort((a, b) => a[0] - b[0]);
  if (!points.length) return [];
  const [first, last, parts] = [points[0][0], points.at(-1)[0], 24];
  const bins = Array.from({length: parts}, () => []);
  for (const [at, value] of points) bins[Math.min(parts - 1, Math.floor(((at - first) / (last - first || 1)) * parts))].push([at, value]);
  return bins.filter((bin) => bin.length).map((bin) => [bin[Math.floor(bin.length / 2)][0], middle(bin.map(([, value]) => value))]);
}

function table(peers) {
  const accuracy = peers.some((peer) => peer.accuracy !== null);
  const paths = peers.some((peer) => peer.path);
  const orders = swarm.orders && key !== "";
  const columns = ["state", "peer", "step", "loss", ...(accuracy ? ["test accuracy"] : []), "rounds", "sent", "in its last round", ...(paths ? ["path"] : []), ...(orders ? [""] : [])];
  by("columns").replaceChildren(...columns.map((text, at) => element("th", {text, cls: at < 2 ? "text" : ""})));
  by("peers").className = peers.length > MANY ? "dense" : "";
  by("rows").replaceChildren(...peers.map((peer) => row(peer, {accuracy, paths, orders})));
  by("add").hidden = !orders;
  document.body.classList.toggle("many", peers.length > MANY);
  by("strip").hidden = peers.length <= FEW;
  by("strip").replaceChildren(...(peers.length <= FEW ? [] : peers.map(square)));
}

function square(peer) {
  const made = element("i", {cls: `state ${peer.state}`, title: `${peer.name}: ${WORDS[peer.state] || "?"}`});
  made.addEventListener("click", () => choose(peer.number === chosen ? -1 : peer.number));
  return made;
}

function row(peer, {accuracy, paths, orders}) {
  const gone = ["lost", "killed", "ended"].includes(peer.state);
  const rate = peer.bytes_per_s ? `${bytes(peer.bytes_per_s)}/s` : "–";
  const id = peer.label && peer.id ? ` …${peer.id.slice(-6)}` : "";
  const figures = [`step ${count(peer.step)}`, `loss ${measured(peer.loss)}`, ...(peer.accuracy === null ? [] : [percent(peer.accuracy)]), plural(peer.rounds, "round"), `${bytes(peer.bytes_sent)} sent`];
  const cell = (text, ...more) => element("td", {text, cls: "figure"}, ...more);
  const cells = [
    element("td", {cls: `text state ${peer.state}`, text: gone ? `${WORDS[peer.state]} ${since(peer)} ago` : WORDS[peer.state] || "?"}),
    element("td", {cls: "text name", title: peer.id}, peer.name, element("small", {text: id})),
    cell(count(peer.step)),
    cell("", spark(peer.losses), ` ${measured(peer.loss)}`),
    ...(accuracy ? [cell(percent(peer.accuracy))] : []),
    cell(count(peer.rounds)),
    cell(bytes(peer.bytes_sent)),
    cell(rate),
    ...(paths ? [cell(peer.path || "–")] : []),
  ];
  cells.splice(2, 0, element("td", {cls: "summary", text: figures.join(" · ")}));
  if (orders) cells.push(element("td", {cls: "orders"}, ...(peer.label && alive(peer) ? [killButton(peer)] : [])));
  const made = element("tr", {cls: `${peer.state}${peer.number === chosen ? " chosen" : ""}`}, ...cells);
  made.dataset.number = peer.number;
  made.addEventListener("pointerenter", (event) => event.pointerType === "mouse" && choose(peer.number));
  made.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && choose(-1));
  return made;
}

function choose(number) {
  chosen = number;
  by("rows").childNodes.forEach((line) => line.classList.toggle("chosen", Number(line.dataset.number) === number));
  charts(swarm.peers);
}

function killButton(peer) {
  const button = element("button", {text: "Kill", cls: "kill", title: `Ends the process of ${peer.name} at once (SIGKILL)`});
  button.type = "button";
  button.addEventListener("click", () => order("kill", peer.label));
  return button;
}

async function order(what, peer) {
  await fetch(`/${what}`, {method: "POST", headers: {"X-Gossip-Key": key, "Content-Type": "application/json"}, body: JSON.stringify({peer})});
  await ask();
}

function events() {
  const lines = swarm.events.slice().reverse().map((event) => {
    const at = new Date(1000 * event.time);
    const time = element("time", {text: at.toLocaleTimeString("en-GB"), title: at.toLocaleString()});
    return element("li", {cls: event.level}, time, element("span", {text: event.text}));
  });
  by("events").replaceChildren(...(lines.length ? lines : [element("li", {text: "nothing yet"})]));
}

function show() {
  const {peers} = swarm;
  document.title = swarm.run ? `${swarm.run} – gossiptrain` : "gossiptrain";
  by("run").textContent = swarm.run || "gossiptrain";
  by("task").textContent = [swarm.task, SEATS[swarm.seat]].filter(Boolean).join(" · ");
  by("served").textContent = SERVED[swarm.seat] || SERVED.peer;
  tiles(peers);
  charts(peers);
  // A button that is being pressed stays where it is.
  if (!by("rows").querySelector("button:active")) table(peers);
  events();
}

function link() {
  const ago = Math.round((Date.now() - heard) / 1000);
  const lost = failed > 1;
  by("link").textContent = lost ? "no answer" : swarm ? "live" : "connecting";
  by("link").className = `pill ${lost ? "gone" : swarm ? "live" : ""}`;
  const down = swarm && swarm.network === "down";
  by("trouble").hidden = !lost && !down;
  by("trouble").textContent = lost
    ? `The peer that serves this page has not answered for ${ago} s: it has ended or was killed. What is shown is its last word; the page of any other peer goes on.`
    : "The network process of this peer is down and is being restarted; of the others only the last word is known.";
}

async function ask() {
  try {
    const answer = await fetch("/swarm.json", {signal: AbortSignal.timeout(4000)});
    if (!answer.ok) throw new Error(String(answer.status));
    swarm = await answer.json();
    heard = Date.now();
    failed = 0;
    show();
  } catch (error) {
    failed += 1;
    if (!(error instanceof TypeError || error instanceof DOMException)) console.error(error);
  }
  link();
}

async function watch() {
  for (;;) {
    await ask();
    const pause = document.hidden ? HIDDEN_MS : swarm && swarm.peers.length > MANY ? LONG_PAUSE_MS : PAUSE_MS;
    await new Promise((wake) => setTimeout(wake, pause));
  }
}

by("add").addEventListener("click", () => order("add", ""));
addEventListener("resize", () => swarm && charts(swarm.peers));
watch();
