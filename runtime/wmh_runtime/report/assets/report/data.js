// What the page knows, and what the browser keeps between visits.

const data = JSON.parse(document.getElementById("page-data").textContent);
const byId = new Map(data.scans.map((scan) => [scan.id, scan]));
const $ = (selector, root = document) => root.querySelector(selector);
const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
const make = (tag, className, text) => {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
};
if (!data.scans.length) return;

const store = {
  read(key) {
    try { return localStorage.getItem(key); } catch { return null; } // it may be forbidden
  },
  write(key, text) {
    try { localStorage.setItem(key, text); return true; } catch { return false; }
  },
};
