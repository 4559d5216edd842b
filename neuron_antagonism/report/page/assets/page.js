/* Draws the figures and tables of a page from the rows that it carries. Text from outside is only ever set as text. */
(() => {
  "use strict";
  const packed = JSON.parse(document.getElementById("data").textContent);
  const live = document.getElementById("live");
  const PAGE = 25;

  /* Rows are packed as fields, texts and values; each set of rows is unpacked once. */
  const unpacked = {};
  const rowsOf = (name) => {
    if (!unpacked[name]) {
      const { f, t, r } = packed.rows[name];
      const value = (field, one) => (t[field] && one !== null ? t[field][one] : one);
      unpacked[name] = r.map((values) => Object.fromEntries(f.map((field, i) => [field, value(field, values[i])])));
    }
    return unpacked[name];
  };
  const distinct = (rows, field) => [...new Set(rows.map((row) => row[field]).filter((v) => v !== null && v !== undefined))];

  const make = (tag, attributes = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name === "text") element.textContent = value;
      else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
    }
    element.append(...children);
    return element;
  };

  let count = 0;
  const choice = (form, label, options, every, changed) => {
    const id = `choice-${count++}`;
    const select = make("select", { id });
    const shown = every ? ["", ...options] : options;
    for (const value of shown) select.append(make("option", { value, text: value === "" ? "all" : value }));
    select.addEventListener("change", changed);
    form.append(make("label", { for: id }, make("span", { text: label }), select));
    return select;
  };
  const searchBox = (form, label, changed) => {
    const id = `choice-${count++}`;
    const input = make("input", { id, type: "search", autocomplete: "off", spellcheck: "false" });
    let waiting = 0;
    input.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(changed, 120); });
    form.append(make("label", { for: id }, make("span", { text: label }), input));
    return input;
  };
  document.addEventListener("submit", (event) => event.preventDefault());

  /* ---- theme ---- */
  const themes = ["auto", "light", "dark"];
  const button = document.getElementById("theme");
  const remembered = () => { try { return localStorage.getItem("neuron-antagonism-theme"); } catch { return null; } };
  const wear = (theme) => {
    if (theme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    button.textContent = `Theme: ${theme}`;
    button.dataset.theme = theme;
    try { localStorage.setItem("neuron-antagonism-theme", theme); } catch { /* from disk some browsers keep nothing */ }
  };
  wear(themes.includes(remembered()) ? remembered() : "auto");
  button.addEventListener("click", () => wear(themes[(themes.indexOf(button.dataset.theme) + 1) % themes.length]));

  /* ---- numbers ---- */
  const signed = (value, digits) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(digits)}`;
  const fixed = (value, digits) => value.toFixed(digits).replace("-", "−");
  const plain = (value) => {
    const size = Math.abs(value);
    if (size !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(1).replace("-", "−");
    return String(Number(value.toPrecision(3))).replace("-", "−");
  };
  const shown = (value, kind) => {
    if (value === null || value === undefined || value === "") return "–";
    if (typeof value !== "number") return String(value);
    if (kind === "percent") return `${(100 * value).toFixed(1)} %`;
    if (kind === "signed") return signed(value, 1);
    if (kind === "whole") return value.toLocaleString("en-GB");
    return plain(value);
  };
  const cellText = (row, column) => {
    let text = shown(row[column.field], column.kind);
    if (column.ends && row[column.field] !== null && row[column.ends[0]] !== null && row[column.ends[0]] !== undefined) {
      const whole = column.kind === "signed";
      const [low, high] = column.ends.map((end) => (whole ? Math.round(row[end]) : plain(row[end])));
      text += ` [${String(low).replace("-", "−")}, ${String(high).replace("-", "−")}]`;
    }
    return text;
  };

  /* ---- tables ---- */
  class Table {
    constructor(body, columns, { title, detail = null, filters = [], hidden = null }) {
      Object.assign(this, { columns, detail, filters, hidden, title, rows: [], sort: null, down: false, page: 0, told: false });
      this.tools = make("form", { class: "tools", "aria-label": `Search and filter: ${title}` });
      this.scroll = make("div", { class: "scroll", role: "region", tabindex: "0", "aria-label": title });
      this.foot = make("div", { class: "foot" });
      body.replaceChildren(this.tools, this.scroll, this.foot);
      this.search = searchBox(this.tools, "Search", () => this.changed());
      this.selects = {};
    }

    show(rows) {
      this.rows = rows;
      this.page = 0;
      for (const field of this.filters) {
        const column = this.columns.find((one) => one.field === field) || { title: field };
        const options = distinct(rows, field).map(String).sort();
        if (!this.selects[field]) {
          if (options.length < 2 || options.length > 14) continue;
          this.selects[field] = choice(this.tools, column.title, options, true, () => this.changed());
        }
        const select = this.selects[field];
        const kept = select.value;
        select.replaceChildren(...["", ...options].map((value) => make("option", { value, text: value || "all" })));
        if (options.includes(kept)) select.value = kept;
        select.parentElement.hidden = options.length < 2;
      }
      this.draw();
    }

    changed() { this.page = 0; this.draw(); live.textContent = `${this.title}: ${this.found().length} rows`; }

    found() {
      const words = this.search.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
      const texts = (row) => `${this.columns.map((column) => cellText(row, column)).join("\u0001")}\u0001${this.hidden ? this.hidden(row) : ""}`.toLowerCase();
      return this.rows.filter((row) => {
        for (const [field, select] of Object.entries(this.selects)) if (select.value && String(row[field]) !== select.value) return false;
        return !words.length || words.every((word) => texts(row).includes(word));
      });
    }

    sorted(rows) {
      if (this.sort === null) return rows;
      const field = this.sort, sign = this.down ? -1 : 1;
      const nothing = (value) => value === null || value === undefined || value === "";
      return [...rows].sort((a, b) => {
        const x = a[field], y = b[field];
        if (nothing(x) || nothing(y)) return nothing(x) - nothing(y);
        return sign * (typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y), "en", { numeric: true }));
      });
    }

    order(field) {
      const numeric = this.rows.some((row) => typeof row[field] === "number");
      if (this.sort === field) this.down = !this.down;
      else { this.sort = field; this.down = numeric; }
      this.page = 0;
      this.draw();
      const again = [...this.scroll.querySelectorAll("th button")].find((one) => one.dataset.field === field);
      if (again) again.focus();
      live.textContent = `${this.title}: sorted by ${field}, ${this.down ? "largest" : "smallest"} first`;
    }

    draw() {
      const rows = this.sorted(this.found());
      const paged = rows.length > PAGE + 5;
      const pages = paged ? Math.ceil(rows.length / PAGE) : 1;
      this.page = Math.min(this.page, pages - 1);
      const here = paged ? rows.slice(this.page * PAGE, (this.page + 1) * PAGE) : rows;
      const head = make("tr");
      for (const column of this.columns) {
        const state = this.sort === column.field ? (this.down ? "descending" : "ascending") : "none";
        const mark = { descending: " ▼", ascending: " ▲", none: "" }[state];
        const sort = make("button", { type: "button", title: column.about || null, "data-field": column.field, text: `${column.title}${mark}` });
        sort.addEventListener("click", () => this.order(column.field));
        head.append(make("th", { scope: "col", "aria-sort": state, class: numeric(column) ? "number" : null }, sort));
      }
      const body = make("tbody");
      for (const row of here) body.append(this.line(row));
      this.scroll.replaceChildren(make("table", {}, make("caption", { class: "unseen", text: this.title }), make("thead", {}, head), body));
      this.tools.hidden = this.rows.length < 8 && !Object.keys(this.selects).length;
      this.foot.replaceChildren(make("span", { text: rows.length === this.rows.length ? `${rows.length} rows` : `${rows.length} of ${this.rows.length} rows` }));
      if (paged) {
        const turn = (text, step, off) => {
          const one = make("button", { type: "button", class: "quiet", disabled: off, text });
          one.addEventListener("click", () => { this.page += step; this.draw(); });
          return one;
        };
        this.foot.append(turn("Previous", -1, this.page === 0), make("span", { text: `${this.page + 1} / ${pages}` }), turn("Next", 1, this.page === pages - 1));
      }
    }

    /* One row is open at a time; what is known of it stands below it, as wide as what is seen of the table. */
    toggle(line, open, row) {
      const was = line.classList.contains("open");
      this.scroll.querySelectorAll("tr.more").forEach((one) => one.remove());
      this.scroll.querySelectorAll("tr.open").forEach((one) => {
        one.classList.remove("open");
        one.querySelector("button.open").setAttribute("aria-expanded", "false");
      });
      if (was) return;
      line.classList.add("open");
      open.setAttribute("aria-expanded", "true");
      const place = make("div", { class: "detail" });
      place.style.width = `${this.scroll.clientWidth}px`;
      line.after(make("tr", { class: "more" }, make("td", { colspan: this.columns.length }, place)));
      this.detail(row, place);
    }

    line(row) {
      const line = make("tr");
      this.columns.forEach((column, i) => {
        const cell = make("td", { class: numeric(column) ? "number" : column.kind === "code" ? "code" : null });
        const text = cellText(row, column);
        if (i === 0 && this.detail) {
          const open = make("button", { type: "button", class: "open" }, make("bdi", { text }));
          open.setAttribute("aria-expanded", "false");
          open.addEventListener("click", () => this.toggle(line, open, row));
          open.addEventListener("keydown", (event) => {
            const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
            if (!step) return;
            const every = [...this.scroll.querySelectorAll("button.open")];
            const next = every[every.indexOf(open) + step];
            if (next) { event.preventDefault(); next.click(); next.focus(); }
          });
          line.addEventListener("click", (event) => { if (!event.target.closest("button")) open.click(); });
          cell.append(open);
        } else cell.append(make("bdi", { text }));
        if (text === "Fail" || text === "fails" || text === "turned wrong") cell.classList.add("bad");
        if (text === "yes" || text === "turned right") cell.classList.add("good");
        line.append(cell);
      });
      if (this.detail) line.classList.add("opens");
      return line;
    }
  }
  const numeric = (column) => ["number", "signed", "percent", "whole"].includes(column.kind);

  /* ---- figures ---- */
  /* Expressions are interpreted, not compiled: the page allows no script to be made from text. */
  const LOOK = { actions: false, renderer: "svg", ast: true, defaultStyle: false, hover: true, logLevel: 1, tooltip: { theme: "custom" } };
  const documentOf = (about, values, ends, legend) => {
    const config = legend ? packed.config : { ...packed.config, legend: { ...packed.config.legend, disable: true } };
    const found = { ...about.chart, config, autosize: { type: "fit-x", contains: "padding" }, data: { name: "rows", values } };
    if (found.height.step) {
      // a height that hangs on the rows makes Vega-Lite complain of widths that do not
      const field = (found.layer || [found]).map((one) => one.encoding.y && one.encoding.y.field).find(Boolean);
      found.height = found.height.step * Math.max(1, distinct(values, field).length);
    }
    if (about.share.length) found.params = about.chart.params.map((one) => ({ ...one, value: one.name === "share_low" ? ends[0] : ends[1] }));
    return found;
  };

  class Figure {
    constructor(element, name) {
      Object.assign(this, { element, name, about: packed.figures[name], views: [], busy: [], rows: null, drawn: false, near: false });
      this.panels = element.querySelector("[data-panels]");
    }

    show(rows) { this.rows = rows; this.drawn = false; if (this.near) this.draw(); }

    draw() {
      if (this.drawn || this.rows === null) return;
      this.drawn = true;
      this.near = true;
      this.views.forEach((view) => view.finalize());
      this.views = [];
      this.busy = [];
      const { panels, share, title, alt } = this.about;
      const values = panels ? distinct(this.rows, panels) : [null];
      const said = { enhance: "▲ enhance", degrade: "▼ degrade" };
      this.panels.replaceChildren();
      if (!this.rows.length) { this.panels.append(make("p", { class: "said", text: "Nothing was measured for this choice." })); return; }
      const ends = this.ends(share);
      values.forEach((value, i) => {
        const plot = make("div", { class: "plot", role: "img", "aria-label": `${title}${value === null ? "" : `, ${value}`}. ${alt}` });
        const panel = make("div", { class: "panel" });
        if (value !== null) panel.append(make("h4", {}, make("bdi", { text: said[value] || value })));
        panel.append(plot);
        this.panels.append(panel);
        const rows = (value === null ? this.rows : this.rows.filter((row) => row[panels] === value)).map((row) => ({ ...row }));
        this.busy.push(vegaEmbed(plot, documentOf(this.about, rows, ends, i === 0), LOOK).then((done) => this.views.push(done)).catch((error) => console.error(this.name, error)));
      });
      this.panels.classList.toggle("many", values.length > 1);
    }

    ends(fields) {
      let low = 0, high = 0;
      for (const row of this.rows) for (const field of fields) {
        const value = row[field];
        if (typeof value === "number") { low = Math.min(low, value); high = Math.max(high, value); }
      }
      const room = 0.04 * (high - low || 1);
      return [low - (low < 0 ? room : 0), high + room];
    }
  }

  const figures = [];
  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) figures.find((one) => one.element === entry.target).draw();
  }, { rootMargin: "300px" });

  /* ---- details of a row ---- */
  const told = (row) => packed.described.find((one) => packed.names.length === 1 || one.run === row.run);
  const chips = (title, [places, logits], texts) => {
    const list = make("ul", { class: "tokens", "aria-label": title });
    places.forEach((place, i) => list.append(make("li", {}, make("bdi", { class: "code", text: texts[place] }), make("span", { class: "soft", text: ` ${logits[i] > 0 ? "+" : ""}${plain(logits[i])}` }))));
    return make("div", { class: "towards" }, make("strong", { text: title }), list);
  };
  const tokensOf = (row, found) => {
    if (found.reason) return [make("p", { class: "said", text: `No tokens: ${found.reason}.` })];
    const own = found.tokens[row.id];
    if (!own) return [];
    return [
      make("h4", { text: "Tokens" }),
      make("p", { class: "soft", text: "Its output vector, alone through the final norm and the unembedding, raises the logits of the tokens it promotes and lowers those it suppresses; where the neuron's activation is negative, the reverse." }),
      chips("Promotes", own[0], found.texts), chips("Suppresses", own[1], found.texts),
    ];
  };
  const strip = (mean, std, low, high) => {
    const at = (value) => `${(100 * (value - low) / (high - low || 1)).toFixed(1)}%`;
    return make("span", { class: "strip", "aria-hidden": "true" },
      make("span", { class: "zero", style: `left:${at(0)}` }),
      make("span", { class: "within", style: `left:${at(mean - std)};width:${(200 * std / (high - low || 1)).toFixed(1)}%` }),
      make("span", { class: "mean", style: `left:${at(mean)}` }));
  };
  const valuesOf = (row, found, same) => {
    const tables = [];
    for (const { task, groups, values } of found.tasks) {
      const own = values[row.id];
      if (!own || !same.some((one) => one.task === task)) continue;
      const [means, stds] = own.slice(1).map((values) => values.map((value) => value * own[0]));
      const low = Math.min(0, ...means.map((mean, i) => mean - stds[i])), high = Math.max(0, ...means.map((mean, i) => mean + stds[i]));
      // one number of decimals, so that the column reads as one
      const digits = Math.min(6, Math.max(0, 2 - Math.floor(Math.log10(Math.max(high, -low) || 1))));
      const body = make("tbody");
      groups.forEach(([by, name, n], i) => {
        if (by !== "all" && groups[i - 1][0] !== by) body.append(make("tr", { class: "group" }, make("th", { scope: "rowgroup", colspan: 4, text: `by ${by}` })));
        body.append(make("tr", {},
          make("th", { scope: "row" }, make("bdi", { text: name })),
          make("td", { class: "number", text: n }), make("td", { class: "number", text: `${fixed(means[i], digits)} ± ${fixed(stds[i], digits)}` }),
          make("td", { class: "range" }, strip(means[i], stds[i], low, high))));
      });
      const head = make("tr", {}, ...[["Right answer"], ["n", "number"], ["Mean ± SD", "number"], ["Range", "range"]].map(([text, kind]) => make("th", { scope: "col", class: kind, text })));
      const caption = make("caption", {}, make("bdi", { text: task }));
      tables.push(make("div", { class: "scroll values", tabindex: "0", role: "region", "aria-label": `Values by right answer, ${task}` }, make("table", {}, caption, make("thead", {}, head), body)));
    }
    if (!tables.length) return [];
    return [
      make("h4", { text: "Values by right answer" }),
      make("p", { class: "soft", text: "At the last position of unedited questions: where the bars (mean and one standard deviation to each side; the thin line is 0) of two answers lie apart, the neuron tells them apart." }),
      make("div", { class: "each" }, ...tables),
    ];
  };
  const details = {
    neuron(row, place) {
      const same = rowsOf("neurons").filter((one) => one.id === row.id && one.run === row.run);
      const list = make("ul");
      for (const one of same) list.append(make("li", {}, make("strong", {}, make("bdi", { text: one.task })), " ", make("bdi", { text: one.roles }), one.exact === null ? "" : `; exact effect ${plain(one.exact)}`));
      const found = told(row);
      const parts = found ? [...tokensOf(row, found), ...valuesOf(row, found, same)] : [];
      place.replaceChildren(
        make("h4", { text: `Neuron ${row.id}` }),
        make("p", { text: `Layer ${row.layer}, index ${row.neuron}${row.run ? `, ${row.run}` : ""}. Chosen (scorer and rank) for:` }),
        list,
        ...parts,
        make("p", { class: "soft", text: `${parts.length ? "More of it, its effect on each answer among it, is" : "What it promotes and suppresses, and its values by answer, are"} told by:` }),
        make("pre", { class: "command", tabindex: "0" }, make("code", { text: `neuron-antagonism neuron show ${row.id} ${packed.names.length === 1 ? packed.names[0] : row.run}` })),
      );
    },
  };

  /* ---- sections ---- */
  for (const section of document.querySelectorAll("[data-section]")) {
    const about = packed.sections[section.dataset.section];
    if (!about) continue;
    const form = section.querySelector("[data-controls]");
    const own = [];
    for (const element of section.querySelectorAll("[data-figure]")) {
      const figure = new Figure(element, element.dataset.figure);
      figures.push(figure);
      own.push({ source: figure.about.source, panels: figure.about.panels, block: figure });
    }
    for (const element of section.querySelectorAll("[data-table]")) {
      const table = packed.tables[element.dataset.table];
      const controlled = about.controls.map((control) => control.field);
      const filters = table.filters.filter((field) => !controlled.includes(field));
      const body = element.querySelector("[data-body]");
      let detail = null;
      if (table.detail) {
        detail = details[table.detail];
      }
      own.push({ source: table.source, block: new Table(body, table.columns, { title: table.title, detail, filters }) });
    }
    const selects = {};
    const update = () => {
      for (const { source, panels, block } of own) {
        let rows = rowsOf(source);
        for (const [field, select] of Object.entries(selects)) {
          if (select.value === "" || field === panels || !packed.rows[source].f.includes(field)) continue;
          rows = rows.filter((row) => String(row[field]) === select.value);
        }
        block.show(rows);
      }
    };
    if (form) {
      for (const { field, label, every } of about.controls) {
        const options = [...new Set(own.flatMap(({ source, panels }) => (panels === field ? [] : distinct(rowsOf(source), field).map(String))))];
        if (options.length < 2) continue;
        selects[field] = choice(form, label, options, every, () => { update(); live.textContent = `${label}: ${selects[field].value || "all"}`; });
      }
      if (!Object.keys(selects).length) form.remove();
    }
    update();
  }
  figures.forEach((figure) => watcher.observe(figure.element));

  /* ---- questions ---- */
  const asked = document.querySelector("[data-asked]");
  if (asked && packed.questions) {
    const list = asked.parentElement.querySelector("[data-list]");
    const { tasks, runs } = packed.questions;
    const run = runs.length > 1 ? choice(asked, "Run", runs, false, () => settle()) : null;
    const task = choice(asked, "Task", [...new Set(tasks.map((one) => one.task))], false, () => settle());
    const edit = choice(asked, "Edit", [""], false, () => fill());
    let current = null;
    const letterOf = (question, i) => (i === null || i === undefined || i < 0 ? "–" : question.l[i] || question.o[i] || `${i + 1}`);
    const changes = { "11": "still right", "10": "turned wrong", "01": "turned right", "00": "still wrong" };
    const columns = [
      { field: "id", title: "Question", kind: "text" }, { field: "right", title: "Right", kind: "text" },
      { field: "before", title: "Before", kind: "text" }, { field: "after", title: "After", kind: "text" },
      { field: "change", title: "Change", kind: "text" },
      { field: "pb", title: "p before", kind: "percent", about: "probability of the right option, unedited" }, { field: "pa", title: "p after", kind: "percent", about: "probability of the right option under the edit" },
    ];
    let table = null;
    const ofRight = (found, i, question) => {
      if (!found) return null;
      if (found.q) return found.q[i][question.a] / 1000;
      return found.r ? found.r[i] / 1000 : null;
    };
    const settle = () => {
      current = tasks.find((one) => one.task === task.value && (!run || one.run === run.value)) || tasks[0];
      const kept = edit.value;
      edit.replaceChildren(...current.edits.slice(1).map((one, i) => make("option", { value: String(i + 1), text: `${one.scorer}, ${one.mode}` })));
      edit.parentElement.hidden = current.edits.length < 2;
      if ([...edit.options].some((one) => one.value === kept)) edit.value = kept;
      fill();
    };
    const fill = () => {
      const before = current.edits[0] || null, after = edit.value ? current.edits[Number(edit.value)] : null;
      const there = columns.filter((column) => (before || !["before", "pb"].includes(column.field)) && (after || !["after", "pa", "change"].includes(column.field)));
      table = new Table(list, there, { title: "Questions", filters: ["change", "right"], detail: (row, place) => tell(row.i, place), hidden: (row) => `${current.questions[row.i].t} ${current.questions[row.i].o.join(" ")}` });
      table.show(current.questions.map((question, i) => {
        const was = before ? before.c[i] : null, is = after ? after.c[i] : null;
        return {
          i, id: `${question.n}.${question.p}`, right: letterOf(question, question.a), before: letterOf(question, was), after: letterOf(question, is),
          change: after ? changes[`${Number(was === question.a)}${Number(is === question.a)}`] : null,
          pb: ofRight(before, i, question), pa: ofRight(after, i, question),
        };
      }));
    };
    const bar = (share, kind) => make("span", { class: `bar ${kind}` }, make("span", { style: `width:${(100 * share).toFixed(1)}%` }));
    const tell = (i, place) => {
      const question = current.questions[i], before = current.edits[0], after = edit.value ? current.edits[Number(edit.value)] : null;
      const understood = question.u === null || question.u === undefined ? "" : question.u ? ", understood unedited" : ", not understood unedited";
      const parts = [make("h4", { text: `Example ${question.n}, wording ${question.p}${understood}` })];
      if (current.start) parts.push(make("details", {}, make("summary", { text: "What all prompts of this task begin with" }), make("pre", { tabindex: "0", dir: "auto", text: current.start })));
      parts.push(make("pre", { class: "prompt", tabindex: "0", dir: "auto", "aria-label": "The prompt", text: question.t }));
      const options = make("ol", { class: "options" });
      question.o.forEach((text, o) => {
        const marks = [];
        if (o === question.a) marks.push("right");
        if (before && before.c[i] === o) marks.push("answer before");
        if (after && after.c[i] === o) marks.push("answer after");
        const item = make("li", { class: o === question.a ? "right" : null }, make("strong", { text: question.l[o] ? `${question.l[o]} ` : "" }), make("bdi", { class: "option", text }), make("span", { class: "marks", text: marks.length ? ` (${marks.join(", ")})` : "" }));
        for (const [found, kind] of [[before, "before"], [after, "after"]]) {
          if (!found || !found.q) continue;
          const share = found.q[i][o] / 1000;
          item.append(make("span", { class: "line" }, make("span", { class: "when", text: kind }), bar(share, kind), make("span", { class: "share", text: `${(100 * share).toFixed(1)} %` })));
        }
        options.append(item);
      });
      parts.push(options);
      const rest = current.edits.slice(1);
      if (rest.length) {
        const body = make("tbody");
        for (const one of rest) {
          const p = ofRight(one, i, question);
          body.append(make("tr", {}, make("td", {}, make("bdi", { text: one.scorer })), make("td", { text: one.mode }), make("td", { text: letterOf(question, one.c[i]) }), make("td", { text: one.c[i] === question.a ? "right" : "wrong" }), make("td", { class: "number", text: p === null ? "–" : `${(100 * p).toFixed(1)} %` })));
        }
        const head = make("tr", {}, ...["Scorer", "Edit", "Answer", "", "p right"].map((text) => make("th", { scope: "col", text })));
        parts.push(make("details", {}, make("summary", { text: "Under every edit" }), make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Under every edit" }, make("table", {}, make("thead", {}, head), body))));
      }
      place.replaceChildren(...parts);
    };
    settle();
  }

  /* The rest is drawn while nothing else is to be done: whoever prints finds it there. */
  const idle = window.requestIdleCallback || ((work) => setTimeout(work, 50));
  const rest = () => {
    const next = figures.find((figure) => !figure.drawn);
    if (next) { next.draw(); idle(rest); } else Promise.all(figures.flatMap((figure) => figure.busy)).then(() => { document.documentElement.dataset.drawn = "all"; });
  };
  window.addEventListener("load", () => setTimeout(() => idle(rest), 300));
  window.addEventListener("beforeprint", () => figures.forEach((figure) => figure.draw()));
  if (matchMedia("(max-width: 1099px)").matches) document.getElementById("contents").removeAttribute("open");
  document.documentElement.dataset.ready = "yes";
})();
