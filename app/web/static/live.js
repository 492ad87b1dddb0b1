// Keeps the live page up to date. Everything it shows is in the page already; this only saves loading it again.
(() => {
  const live = document.getElementById("live");
  if (!live || !window.EventSource) return;
  const most = Number(live.dataset.most);
  const verdicts = document.getElementById("verdicts");
  const body = document.getElementById("ranking");
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  const SVG = "http://www.w3.org/2000/svg";

  const make = (tag, text, className) => {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    if (className) element.className = className;
    return element;
  };

  const setText = (element, text) => {
    if (element.textContent !== text) element.textContent = text;
  };

  function showVerdict(verdict) {
    const item = make("li");
    item.value = verdict.order;
    item.append(make("span", verdict.sentence), " ", make("small", verdict.detail));
    verdicts.prepend(item);
    while (verdicts.children.length > most) verdicts.lastElementChild.remove();
    document.getElementById("none").hidden = true;
  }

  function drawBar(svg, line) {
    if (line.dot === null) return;
    if (!svg.firstElementChild) {
      svg.append(document.createElementNS(SVG, "line"), document.createElementNS(SVG, "circle"));
    }
    const [bar, dot] = svg.children;
    for (const [name, value] of [["x1", `${line.left}%`], ["x2", `${line.right}%`], ["y1", 7], ["y2", 7]]) {
      bar.setAttribute(name, value);
    }
    for (const [name, value] of [["cx", `${line.dot}%`], ["cy", 7], ["r", 3.5]]) dot.setAttribute(name, value);
  }

  function showRanking(lines) {
    const rows = new Map([...body.rows].map((row) => [row.dataset.position, row]));
    const before = new Map([...rows.values()].map((row) => [row, row.getBoundingClientRect().top]));
    lines.forEach((line, place) => {
      const row = rows.get(String(line.position));
      if (!row) return;
      const cells = row.cells;
      setText(cells[0], String(line.rank ?? "\u2013"));
      drawBar(cells[2].firstElementChild, line);
      cells[3].replaceChildren(`${line.score} `, make("small", line.margin));
      setText(cells[4], String(line.comparisons));
      if (body.rows[place] !== row) body.insertBefore(row, body.rows[place]);
    });
    if (still.matches || document.hidden) return;
    for (const [row, top] of before) {
      const by = top - row.getBoundingClientRect().top;
      if (by) row.animate([{ transform: `translateY(${by}px)` }, { transform: "none" }], { duration: 350, easing: "ease-out" });
    }
  }

  function showState(state) {
    for (const element of document.querySelectorAll("[data-show]")) {
      setText(element, String(state[element.dataset.show]));
    }
    document.querySelector("[data-state]").className = `state ${state.state}`;
    for (const element of document.querySelectorAll("[data-unless-empty]")) element.hidden = !state[element.dataset.show];
    document.querySelector("[data-ended]").hidden = !state.ended;
    document.querySelector("[data-running]").hidden = state.ended;
    for (const form of document.querySelectorAll("[data-when]")) form.hidden = form.dataset.when !== state.state;
    const done = document.getElementById("done");
    done.max = Math.max(1, state.total);
    done.value = state.done;
    if (state.ranking) showRanking(state.ranking);
  }

  const source = new EventSource(live.dataset.events);
  source.addEventListener("verdict", (event) => showVerdict(JSON.parse(event.data)));
  source.addEventListener("state", (event) => showState(JSON.parse(event.data)));
  const lost = document.getElementById("lost");
  source.addEventListener("open", () => { lost.hidden = true; });
  source.addEventListener("error", () => { lost.hidden = false; });
  source.addEventListener("done", () => source.close());
})();
