"use strict";
const $ = (id) => document.getElementById(id);
let state = "all";

async function call(method, path, body) {
  const reply = await fetch(path, {
    method,
    headers: body ? { "Content-Type": "application/json" } : {},
    body: body ? JSON.stringify(body) : undefined,
  });
  const answer = reply.status === 204 ? null : await reply.json();
  $("error").textContent = reply.ok ? "" : answer.error;
  if (!reply.ok) throw new Error(answer.error);
  return answer;
}

function row(task) {
  const item = document.createElement("li");
  item.className = task.done ? "done" : "";
  const tick = document.createElement("input");
  tick.type = "checkbox";
  tick.checked = task.done;
  tick.setAttribute("aria-label", "Done: " + task.title);
  tick.addEventListener("change", () => change("PATCH", task.id, { done: tick.checked }));
  const title = document.createElement("span");
  title.textContent = task.title;
  const due = document.createElement("time");
  due.textContent = task.due || "";
  const remove = document.createElement("button");
  remove.textContent = "Delete";
  remove.setAttribute("aria-label", "Delete: " + task.title);
  remove.addEventListener("click", () => change("DELETE", task.id));
  item.append(tick, title, due, remove);
  return item;
}

async function change(method, id, body) {
  await call(method, "/api/tasks/" + id, body).catch(() => null);
  await show();
}

async function show() {
  const query = new URLSearchParams({ state, q: $("search").value });
  const { tasks } = await call("GET", "/api/tasks?" + query);
  const stats = await call("GET", "/api/stats");
  $("tasks").replaceChildren(...tasks.map(row));
  $("stats").textContent = `${stats.open} open, ${stats.done} done, ${stats.overdue} overdue`;
}

$("new").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    await call("POST", "/api/tasks", { title: $("title").value, due: $("due").value || null });
    event.target.reset();
  } catch { /* the error is on the page */ }
  await show();
  $("title").focus();
});
for (const button of document.querySelectorAll("nav button")) {
  button.addEventListener("click", () => {
    state = button.dataset.state;
    for (const each of document.querySelectorAll("nav button")) each.setAttribute("aria-pressed", each === button);
    show();
  });
}
$("search").addEventListener("input", show);
show();
