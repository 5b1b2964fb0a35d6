// Pictures as SVG. Knows points, rows and rounds; does not know where they come from.

const SVG = "http://www.w3.org/2000/svg";
const LEFT = 46, BOTTOM = 20, TOP = 6;

export function shape(name, attributes = {}, text = "") {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text) made.textContent = text;
  return made;
}

export function figure(value) {
  if (value === null || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size >= 1e6) return value.toExponential(1);
  if (size >= 1000) return Math.round(value).toLocaleString("en");
  if (size === 0) return "0";
  if (size < 1e-4) return value.toExponential(1);
  return String(Number(value.toPrecision(3)));
}

/** With as many digits for each, so that figures under each other can be compared. */
export function measured(value) {
  const short = figure(value);
  return value !== null && Number.isFinite(value) && Math.abs(value) >= 1e-4 && Math.abs(value) < 1000 ? value.toPrecision(3) : short;
}

function nothing(into, words) {
  const said = document.createElement("p");
  said.className = "empty";
  said.textContent = words;
  into.replaceChildren(said);
}

// Round values for an axis, at most `most` of them.
function steps(low, high, most) {
  const rough = (high - low) / most || 1;
  const unit = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * unit).find((size) => size >= rough);
  const found = [];
  for (let at = Math.ceil(low / step) * step; at <= high + step / 1e6; at += step) found.push(at);
  return found;
}

function decades(low, high) {
  const found = [];
  for (let power = Math.floor(low); power <= Math.ceil(high); power += 1) found.push(power);
  const thin = Math.ceil(found.length / 5);
  return found.filter((power) => power % thin === 0);
}

/** curves: [{points: [[x, y]...], kind, color, title}]. logarithmic: y over decades. */
export function chart(into, curves, {logarithmic = false, percent = false, height = 190, label = ""} = {}) {
  const usable = ([, y]) => !logarithmic || y > 0;
  const drawn = curves.map((curve) => ({...curve, points: curve.points.filter(usable)})).filter((c) => c.points.length);
  if (!drawn.length) return nothing(into, "nothing to draw yet");
  const width = Math.max(240, into.clientWidth);
  const xs = drawn.flatMap((curve) => curve.points.map(([x]) => x));
  const ys = drawn.flatMap((curve) => curve.points.map(([, y]) => (logarithmic ? Math.log10(y) : y))).sort((a, b) => a - b);
  const [first, last] = [Math.min(...xs), Math.max(...xs)];
  // A few wild values at the top do not press all others to the ground.
  let low = ys[0], high = ys[Math.min(ys.length - 1, Math.ceil(0.995 * ys.length))];
  if (!logarithmic) low = Math.min(0, low);
  if (high - low < 1e-9) { high += logarithmic ? 0.5 : Math.abs(high) / 2 || 1; low -= logarithmic ? 0.5 : 0; }
  const x = (value) => LEFT + ((value - first) / (last - first || 1)) * (width - LEFT - 8);
  const y = (value) => {
    const at = logarithmic ? Math.log10(value) : value;
    return TOP + (1 - (Math.min(at, high) - low) / (high - low)) * (height - TOP - BOTTOM);
  };
  const svg = shape("svg", {viewBox: `0 0 ${width} ${height}`, height, role: "img", "aria-label": label});
  const marks = logarithmic && high - low > 1 ? decades(low, high).map((power) => 10 ** power)
    : steps(logarithmic ? 10 ** low : low, logarithmic ? 10 ** high : high, 4);
  for (const mark of marks) {
    const at = y(mark);
    if (!(at >= TOP - 1 && at <= height - BOTTOM + 1)) continue;
    svg.append(shape("line", {class: "grid", x1: LEFT, x2: width - 8, y1: at, y2: at}));
    svg.append(shape("text", {class: "end", x: LEFT - 7, y: at + 4}, percent ? `${figure(100 * mark)} %` : figure(mark)));
  }
  for (const mark of steps(first, last, width > 420 ? 5 : 3)) {
    if (!Number.isInteger(mark)) continue;
    const edge = x(mark) > width - 40 ? "end" : "middle";
    svg.append(shape("text", {class: edge, x: Math.min(x(mark), width - 8), y: height - 4}, mark.toLocaleString("en")));
  }
  for (const {points, kind = "", color = "", title = ""} of drawn) {
    const path = points.map(([px, py], at) => `${at ? "L" : "M"}${x(px).toFixed(1)} ${y(py).toFixed(1)}`).join("");
    const curve = shape("path", {class: `curve ${kind}`, d: points.length > 1 ? path : `${path}h.1`});
    if (color) curve.style.stroke = color;
    if (points.length === 1) curve.style.strokeWidth = 5;
    if (title) curve.append(shape("title", {}, title));
    svg.append(curve);
  }
  into.replaceChildren(svg);
}

/** One line for each peer, one column for each round; who met is joined by a line. chosen: the number of a peer. */
export function meetings(into, peers, rounds, {color, chosen = -1} = {}) {
  const taking = rounds.filter((round) => round.members.length > 1);
  if (!taking.length) return nothing(into, "no round yet");
  const shown = peers.filter((peer) => peer.state !== "watching").sort((one, other) => one.number - other.number);
  const place = new Map(shown.map((peer, line) => [peer.number, line]));
  const pitch = shown.length <= 8 ? 27 : shown.length <= 16 ? 21 : shown.length <= 32 ? 15 : 12.5;
  const size = Math.min(11.5, pitch - 1.5);
  const width = Math.max(260, into.clientWidth);
  const names = Math.min(110, Math.max(...shown.map((peer) => peer.name.length)) * size * 0.62 + 12);
  const parts = Math.max(...taking.map((round) => taking.filter((other) => other.round === round.round).length));
  const fit = Math.max(3, Math.floor((width - names - 12) / (parts * (parts > 4 ? 10 : 7) + 6)));
  const numbers = [...new Set(taking.map((round) => round.round))].slice(-fit);
  const column = Math.min(parts > 1 ? parts * 16 : 46, (width - names - 12) / numbers.length);
  const height = shown.length * pitch + 22;
  const svg = shape("svg", {viewBox: `0 0 ${width} ${height}`, height, role: "img", "aria-label": "Groups of recent rounds"});
  const y = (number) => place.get(number) * pitch + pitch / 2 + 2;
  for (const peer of shown) {
    const at = y(peer.number);
    svg.append(shape("line", {class: "row", x1: names, x2: width - 6, y1: at, y2: at}));
    const name = shape("text", {class: `${peer.state}${peer.own ? " own" : ""}${peer.number === chosen ? " own" : ""}`, x: 0, y: at + size / 3}, peer.name);
    name.style.fontSize = `${size}px`;
    svg.append(name);
  }
  const nameOf = (number) => shown[place.get(number)].name;
  numbers.forEach((number, at) => {
    const groups = taking.filter((round) => round.round === number);
    const left = names + at * column;
    if (at % 2 && parts > 1) svg.append(shape("rect", {class: "band", x: left, y: 0, width: column, height: height - 16}));
    groups.forEach((group, part) => {
      const x = left + (column * (part + 1)) / (groups.length + 1);
      const members = group.members.filter((member) => place.has(member));
      const lines = members.map(y);
      const drawn = shape("g");
      drawn.style.opacity = chosen >= 0 && !members.includes(chosen) ? 0.12 : 0.45 + (0.55 * (at + 1)) / numbers.length;
      const paint = color(part);
      const bar = shape("line", {x1: x, x2: x, y1: Math.min(...lines), y2: Math.max(...lines), "stroke-width": pitch > 12 ? 2 : 1.3});
      bar.style.stroke = paint;
      drawn.append(bar, shape("title", {}, `round ${number.toLocaleString("en")}: ${members.map(nameOf).join(", ")}`));
      for (const line of lines) {
        const dot = shape("circle", {cx: x, cy: line, r: Math.min(4.6, Math.max(2.4, pitch / 4.2), Math.max(1.8, column / (groups.length + 1) / 2))});
        dot.style.fill = paint;
        drawn.append(dot);
      }
      svg.append(drawn);
    });
    if (at === 0 || at === numbers.length - 1) {
      svg.append(shape("text", {class: "middle", x: Math.min(left + column / 2, width - 16), y: height - 4}, number.toLocaleString("en")));
    }
  });
  into.replaceChildren(svg);
}

/** The course of one peer's loss in a cell of the table. */
export function spark(points) {
  const [width, height] = [64, 16];
  const svg = shape("svg", {viewBox: `0 0 ${width} ${height}`, width, height, "aria-hidden": "true"});
  svg.style.width = `${width}px`;
  svg.style.verticalAlign = "middle";
  const values = points.map(([, value]) => value);
  if (values.length < 2) return svg;
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const path = values.map((value, at) => {
    const x = (at / (values.length - 1)) * (width - 2) + 1;
    return `${at ? "L" : "M"}${x.toFixed(1)} ${(height - 2 - ((value - low) / (high - low || 1)) * (height - 4)).toFixed(1)}`;
  });
  const curve = shape("path", {class: "curve", d: path.join("")});
  curve.style.stroke = "var(--accent)";
  curve.style.strokeWidth = 1.3;
  svg.append(curve);
  return svg;
}
