// The page at "/": translates while one types, through the service's own /generate_stream.
const element = (id) => document.getElementById(id);
const DEBOUNCE_MS = 350;
const MAX_FILE_BYTES = 256 * 1024;
const FLAGS = {
  empty: "empty", ratio: "unusual length", repetition: "repeats itself", script: "wrong script", leak: "prompt text",
  length: "cut off", placeholder: "placeholder lost", glossary: "glossary not kept", markup: "tag placed by position",
  number: "number changed", emoji: "emoji lost", replacement: "broken character",
};
const PANE_FORMATS = { txt: "text", md: "markdown", html: "html", htm: "html", xml: "xml" };

const state = { config: null, timer: 0, running: null, format: "text", fileName: "translation.txt", file: null, document: null };

async function start() {
  setTheme(localStorage.getItem("theme"));
  const response = await fetch("/web/config.json");
  if (!response.ok) return show(`The service answers with ${response.status}.`);
  state.config = await response.json();
  element("model").textContent = state.config.model;
  element("key-label").hidden = !state.config.needs_key;
  element("key").value = sessionStorage.getItem("key") ?? "";
  fill(element("source"), [["", "Detect language"], ...state.config.sources.map(named)]);
  fill(element("target"), state.config.targets.map(named));
  const wanted = new URLSearchParams(location.hash.slice(1));
  choose("source", wanted.get("source") ?? "");
  choose("target", wanted.get("target") ?? guessTarget());
  element("input").value = wanted.get("text") ?? element("input").value;
  languagesChanged();
}

const named = (tag) => [tag, state.config.languages[tag].name];
const guessTarget = () => state.config.targets.find((tag) => !navigator.language.startsWith(tag)) ?? state.config.targets[0];

function fill(select, entries) {
  select.replaceChildren(...entries.map(([value, text]) => new Option(text, value)));
}

function choose(id, value) {
  if ([...element(id).options].some((option) => option.value === value)) element(id).value = value;
}

function languagesChanged() {
  const source = element("source").value;
  const allowed = state.config.pairs.filter(([from]) => !source || from === source).map(([, to]) => to);
  for (const option of element("target").options) option.disabled = !allowed.includes(option.value);
  if (element("target").selectedOptions[0]?.disabled) choose("target", allowed[0]);
  direct(element("input"), source);
  direct(element("output"), element("target").value);
  const swapped = state.config.pairs.some(([from, to]) => from === element("target").value && (!source || to === source));
  element("swap").disabled = !swapped;
  schedule(0);
}

function direct(target, tag) {
  target.lang = tag;
  target.dir = tag ? (state.config.languages[tag].rtl ? "rtl" : "ltr") : "auto";
}

function schedule(delay = DEBOUNCE_MS) {
  clearTimeout(state.timer);
  state.timer = setTimeout(translate, delay);
}

async function translate() {
  if (state.file) return translateDocument(state.file);
  const text = element("input").value;
  const running = begin();
  element("count").textContent = text ? `${[...text].length} characters` : "";
  if (!text.trim()) return clearResult();
  await run(running, () => stream(text, running.signal));
}

// What runs is aborted by what is begun after it.
function begin() {
  clearTimeout(state.timer);
  state.running?.abort();
  state.document = null;
  show("");
  return state.running = new AbortController();
}

async function run(running, work) {
  element("output").classList.add("busy");
  try {
    await work();
  } catch (error) {
    if (running.signal.aborted) return;
    clearResult();
    show(error.message);
  } finally {
    if (state.running === running) element("output").classList.remove("busy");
  }
}

const authorization = () => (element("key").value ? { authorization: `Bearer ${element("key").value}` } : {});

async function failure(response) {
  const { error } = await response.json().catch(() => ({})); // a proxy's answer may be no JSON
  return new Error(error ?? `The service answers with ${response.status}.`);
}

async function stream(text, signal) {
  const parameters = { target: element("target").value };
  if (element("source").value) parameters.source = element("source").value;
  if (state.format !== "text") parameters.format = state.format;
  const glossary = readGlossary();
  if (glossary) parameters.glossary = JSON.stringify(glossary);
  const headers = { "content-type": "application/json", ...authorization() };
  const response = await fetch(`/v2/models/${state.config.model}/generate_stream`, {
    method: "POST", headers, signal, body: JSON.stringify({ text_input: text, parameters }),
  });
  if (!response.ok) throw await failure(response);
  let written = "";
  for await (const [name, document] of events(response.body)) {
    if (name === "error") throw new Error(document.error);
    if (name === "warming") { show("The model is starting …"); continue; }
    show("");
    written += document.text_output;
    element("output").textContent = written;
    if (document.done) showEnd(document);
  }
}

// Server-sent events of a fetch's body: [name, document] each.
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    buffer += value;
    const parts = buffer.split("\n\n");
    buffer = parts.pop();
    for (const part of parts) {
      let name = "message";
      const data = [];
      for (const line of part.split("\n")) {
        if (line.startsWith("event:")) name = line.slice(6).trim();
        if (line.startsWith("data:")) data.push(line.slice(5));
      }
      if (data.length) yield [name, JSON.parse(data.join("\n"))];
    }
  }
}

function showEnd(end) {
  const source = state.config.languages[end.source];
  element("detected").textContent = element("source").value || !source ? "" : `detected: ${source.name}`;
  element("confidence").hidden = false;
  element("meter").value = end.confidence;
  element("confidence-value").textContent = end.confidence.toFixed(2);
  element("cache").textContent = end.cache === "hit" ? "from the cache" : "";
  element("flags").replaceChildren(...end.flags.map((flag) => {
    const item = document.createElement("li");
    item.textContent = FLAGS[flag] ?? flag;
    return item;
  }));
}

function clearResult() {
  element("output").textContent = element("detected").textContent = element("cache").textContent = "";
  element("output").classList.remove("busy");
  element("confidence").hidden = true;
  element("flags").replaceChildren();
}

function show(message) {
  element("message").textContent = message;
  element("message").hidden = !message;
}

function readGlossary() {
  const terms = {}, keep = [];
  for (const line of element("glossary").value.split("\n")) {
    const [term, ...rest] = line.split("=").map((part) => part.trim());
    if (!term) continue;
    if (rest.length) terms[term] = rest.join("="); else keep.push(term);
  }
  return Object.keys(terms).length || keep.length ? { terms, keep } : null;
}

async function open(file) {
  if (!file) return;
  const suffix = file.name.toLowerCase().split(".").pop();
  state.file = null;
  state.fileName = translatedName(file);
  if (!PANE_FORMATS[suffix] && state.config.files.includes(`.${suffix}`)) return translateDocument(file);
  if (file.size > MAX_FILE_BYTES) return show(`The file is larger than ${MAX_FILE_BYTES / 1024} KiB: use “yiwen translate”.`);
  let text;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(await file.arrayBuffer());
  } catch {
    return show("The file is not UTF-8 text, and no document that is known: use “yiwen translate”.");
  }
  state.format = PANE_FORMATS[suffix] ?? "text";
  element("input").value = text;
  schedule(0);
}

const translatedName = (file) => file.name.replace(/(\.[^.]*)?$/, (end) => `.${element("target").value}${end}`);

// A document keeps its format: the service translates the file, and it is saved instead of the output's text.
async function translateDocument(file) {
  element("input").value = element("count").textContent = "";
  Object.assign(state, { file, fileName: translatedName(file) });
  const running = begin();
  clearResult();
  show(`${file.name} is being translated …`);
  await run(running, async () => {
    const form = new FormData();
    form.append("file", file);
    form.append("source", element("source").value || "auto");
    form.append("target", element("target").value);
    const options = { signal: running.signal, headers: authorization() };
    const response = await fetch("/translate_file", { method: "POST", body: form, ...options });
    if (!response.ok) throw await failure(response);
    const translated = await fetch(new URL((await response.json()).translatedFileUrl).pathname, options);
    if (!translated.ok) throw new Error("The translated file is gone: try again.");
    state.document = await translated.blob();
    element("output").textContent = state.fileName;
    show(`${state.fileName} is ready: save it.`);
  });
}

function save() {
  const blob = state.document ?? new Blob([element("output").textContent], { type: "text/plain;charset=utf-8" });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = state.fileName;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function swap() {
  if (element("swap").disabled) return;
  const target = element("target").value;
  const back = element("source").value || state.config.pairs.find(([from]) => from === target)[1];
  const text = element("output").textContent;
  choose("source", target);
  languagesChanged();
  choose("target", back);
  if (text && !state.file) element("input").value = text;
  languagesChanged();
}

function clear() {
  element("input").value = "";
  Object.assign(state, { format: "text", fileName: "translation.txt", file: null });
  element("input").focus();
  translate();
}

function setTheme(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
}

element("input").addEventListener("input", () => { state.file = null; schedule(); });
element("glossary").addEventListener("input", () => schedule());
element("source").addEventListener("change", languagesChanged);
element("target").addEventListener("change", languagesChanged);
element("swap").addEventListener("click", swap);
element("clear").addEventListener("click", clear);
element("save").addEventListener("click", save);
element("save").addEventListener("keydown", (event) => { if (event.key === "Enter") save(); });
element("copy").addEventListener("click", () => navigator.clipboard?.writeText(element("output").textContent));
element("file").addEventListener("change", () => {
  open(element("file").files[0]);
  element("file").value = ""; // the same file may be chosen again
});
element("key").addEventListener("change", () => { sessionStorage.setItem("key", element("key").value); schedule(0); });
element("theme").addEventListener("click", () => {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const next = (document.documentElement.dataset.theme ?? (dark ? "dark" : "light")) === "dark" ? "light" : "dark";
  setTheme(next);
  localStorage.setItem("theme", next);
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) schedule(0);
  if (event.key === "Escape") clear();
});
// A file may be dropped anywhere: a browser would leave the page for one that is dropped elsewhere.
for (const name of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(name, (event) => {
    if (!event.dataTransfer.types.includes("Files")) return;
    event.preventDefault();
    element("from").classList.toggle("over", name === "dragover");
    if (name === "drop") open(event.dataTransfer.files[0]);
  });
}
start();
