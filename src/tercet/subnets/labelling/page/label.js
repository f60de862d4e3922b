// The page on which people label. Asks the server what to show, shows it, says what was chosen. Keeps only a token.

const $ = (id) => document.getElementById(id);
const LETTERS = "qwertyuiopasdfghjklzxcvbnm";
const MORE = { Backspace: "undo", "/": "unsure", "-": "skip" };

let token = sessionStorage.getItem("worker");
let item = null; // what is on the screen
let keys = new Map(); // key to the number of its label
let sure = true;
let busy = false; // a call is on its way: nothing is taken twice
let held = null; // the state to go on with once a correction was read

async function call(path, body) {
  const answer = await fetch(path, {
    method: body === undefined ? "GET" : "POST",
    headers: { "X-Tercet-Worker": token ?? "", ...(body !== undefined && { "Content-Type": "application/json" }) },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const found = await answer.json();
  if (answer.ok) return found;
  if (answer.status === 401) leave();
  throw new Error(found.error);
}

function leave() {
  sessionStorage.removeItem("worker");
  token = null;
  only("door");
}

const only = (name) => {
  for (const part of ["door", "work", "rest"]) $(part).hidden = part !== name;
  $("stats").hidden = name === "door";
};

// One thing at a time; a failure is said, and the server asked again what is true.
async function act(work) {
  if (busy) return;
  busy = true;
  try {
    const state = await work();
    $("problem").textContent = "";
    if (state) show(state);
  } catch (error) {
    $("problem").textContent = error.message || "The page cannot be reached.";
    if (token) setTimeout(look, 1500);
  } finally {
    busy = false;
  }
  if (token && !item && !held) look();
}

const look = () => act(() => call("/api/next?wait"));

function show(state) {
  $("left").textContent = state.left;
  $("done").textContent = state.labelled;
  $("earned").textContent = state.earned;
  if (state.pace) $("pace").textContent = state.pace;
  $("undo").disabled = !state.can_undo;
  if (state.feedback && !state.feedback.right) return correct(state);
  const word = $("word");
  word.className = state.feedback ? "right" : "";
  word.textContent = state.feedback ? "Right." : state.item?.training ? trained(state) : "\u00a0";
  draw(state.item);
}

const trained = (state) =>
  state.trained ? `Training: ${state.trained_right} of ${state.trained} right` : "Training: these do not count yet";

// A training item was wrong: leave it on the screen with the right label until the person goes on.
function correct(state) {
  const { label } = state.feedback;
  for (const button of $("labels").children) {
    button.classList.toggle("truth", button.dataset.label === label);
    button.classList.toggle("miss", button.classList.contains("picked") && button.dataset.label !== label);
  }
  $("word").className = "wrong";
  $("word").textContent = `This one is ${label}. Press any key, or tap, to go on.`;
  item = null;
  held = state;
}

function goOn() {
  const state = held;
  held = null;
  show({ ...state, feedback: undefined });
  if (!item) look();
}

function draw(next) {
  item = next;
  if (!next) return only("rest");
  only("work");
  setSure(true);
  $("question").textContent = next.question;
  $("picture").hidden = !next.picture;
  $("text").hidden = next.text === undefined;
  if (next.picture) {
    $("picture").classList.toggle("pixels", next.pixels);
    $("picture").src = next.picture;
  } else {
    $("text").textContent = next.text;
    $("text").scrollTop = 0;
  }
  drawLabels(next.labels);
}

function drawLabels(labels) {
  const plain = labels.every((label) => [...label].length === 1 && !(label in MORE));
  const marks = plain ? labels.map((label) => label.toLowerCase()) : [..."1234567890" + LETTERS];
  keys = new Map(labels.map((_, n) => [marks[n], n]).filter(([mark]) => mark !== undefined));
  const longest = Math.max(...labels.map((label) => label.length));
  const across = longest <= 3 ? 5 : longest <= 14 ? Math.min(3, labels.length) : innerWidth < 544 ? 1 : 2;
  $("labels").style.setProperty("--across", across);
  $("labels").replaceChildren(
    ...labels.map((label, n) => {
      const button = document.createElement("button");
      button.type = "button";
      button.dataset.label = label;
      if (!plain && marks[n]) {
        const mark = document.createElement("kbd");
        mark.className = "keyed";
        mark.textContent = marks[n];
        button.append(mark, " ");
      }
      button.append(label);
      button.addEventListener("click", () => choose(n));
      return button;
    }),
  );
}

function choose(label) {
  if (!item || busy) return;
  const { key } = item;
  if (label !== null) $("labels").children[label].classList.add("picked");
  act(() => call("/api/answer", { key, label, sure }));
}

function setSure(value) {
  sure = value;
  $("unsure").setAttribute("aria-pressed", String(!value));
}

function move(step) {
  const buttons = [...$("labels").children];
  const at = buttons.indexOf(document.activeElement);
  const across = Number($("labels").style.getPropertyValue("--across"));
  const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -across, ArrowDown: across }[step];
  const to = at < 0 ? 0 : at + by;
  buttons[Math.max(0, Math.min(buttons.length - 1, to))]?.focus();
}

// A picture of a few pixels is drawn as large as one of many: nobody labels a dot.
$("picture").addEventListener("load", ({ target }) => {
  if (Math.max(target.naturalWidth, target.naturalHeight) < 96) target.classList.add("pixels");
});

$("undo").addEventListener("click", () => act(() => call("/api/undo", {})));
$("unsure").addEventListener("click", () => setSure(!sure));
$("skip").addEventListener("click", () => choose(null));

document.addEventListener("keydown", (event) => {
  if (event.altKey || event.metaKey || event.target.tagName === "INPUT" || $("door").hidden === false) return;
  if (event.ctrlKey && event.key !== "z") return;
  if (held) {
    event.preventDefault();
    return goOn();
  }
  const tool = event.ctrlKey ? "undo" : MORE[event.key];
  const label = keys.get(event.key.toLowerCase());
  if (tool) $(tool).click();
  else if (event.key.startsWith("Arrow")) move(event.key);
  else if (label !== undefined && !event.repeat) choose(label);
  else return;
  event.preventDefault();
});
document.addEventListener("click", () => held && goOn(), true);

$("join").addEventListener("submit", (event) => {
  event.preventDefault();
  act(async () => {
    const found = await call("/api/join", { name: $("name").value, invitation: location.hash.slice(1) });
    token = found.token;
    sessionStorage.setItem("worker", token);
    return call("/api/next");
  });
});

if (token) look();
else $("name").focus();
