"use strict";
(async () => {
  const data = JSON.parse(document.getElementById("viewer-data").textContent);
  const $ = (id) => document.getElementById(id);
  const status = $("status");
  const viewer = new niivue.Niivue({
    logLevel: "error", dragAndDropEnabled: false, loadingText: "", backColor: [0, 0, 0, 1], crosshairColor: [1, 1, 1, 0.6], crosshairWidth: 0.5,
    isRadiologicalConvention: true, isNearestInterpolation: false, multiplanarShowRender: niivue.SHOW_RENDER.NEVER,
  });

  async function bytesOf(id) { // by the browser's own decoder, without a request
    const text = $(id).textContent;
    const binary = atob(text), bytes = new Uint8Array(binary.length);
    for (let place = 0; place < binary.length; place += 1) bytes[place] = binary.charCodeAt(place);
    return bytes.buffer;
  }

  try {
    await viewer.attachToCanvas($("canvas"));
    for (const layer of data.layers) await viewer.loadFromArrayBuffer(await bytesOf(`file-${layer.id}`), layer.name);
  } catch (error) {
    status.textContent = `The images cannot be shown (${error.message ?? error}). This page needs a browser with WebGL 2.`;
    return;
  }
  const [scan] = viewer.volumes;
  const place = new Map(data.layers.map((layer, index) => [layer.id, index]));
  const refresh = () => viewer.updateGLVolume();
  const setRange = (volume, low, high) => { volume.cal_min = low; volume.cal_max = high; };
  for (const [id, colormap, low, high] of [["mask", "red", 0.5, 1], ["probability", "warm", data.smallestProbability, 1]]) {
    if (!place.has(id)) continue;
    const volume = viewer.volumes[place.get(id)];
    viewer.setColormap(volume.id, colormap);
    setRange(volume, low, high);
  }

  const layers = ["mask", "probability"].filter((id) => place.has(id));
  const setOpacity = (id) => viewer.setOpacity(place.get(id), Number($(`opacity-${id}`).value) / 100);
  for (const id of layers) { $(`opacity-${id}`).addEventListener("input", () => setOpacity(id)); setOpacity(id); }
  const remembered = {};
  function toggle(id) {
    const slider = $(`opacity-${id}`);
    if (!slider) return;
    const value = Number(slider.value);
    if (value) remembered[id] = value;
    slider.value = value ? 0 : remembered[id] ?? 50;
    setOpacity(id);
  }

  const low = $("black"), high = $("white");
  const [firstLow, firstHigh] = [scan.cal_min, scan.cal_max];
  const digits = (value) => Number(value.toPrecision(4));
  function fillWindow() { low.value = digits(firstLow); high.value = digits(firstHigh); low.step = high.step = digits((firstHigh - firstLow) / 50) || "any"; }
  function setWindow() {
    if (Number(high.value) <= Number(low.value)) return;
    setRange(scan, Number(low.value), Number(high.value));
    refresh();
  }
  fillWindow();
  low.addEventListener("change", setWindow);
  high.addEventListener("change", setWindow);
  $("reset").addEventListener("click", () => { fillWindow(); setRange(scan, firstLow, firstHigh); refresh(); });

  const types = {
    multi: viewer.sliceTypeMultiplanar, axial: viewer.sliceTypeAxial, coronal: viewer.sliceTypeCoronal,
    sagittal: viewer.sliceTypeSagittal, render: viewer.sliceTypeRender,
  };
  const setType = () => viewer.setSliceType(types[$("type").value]);
  $("type").addEventListener("change", setType);
  viewer.onLocationChange = (where) => {
    const [x, y, z] = [...where.mm].slice(0, 3).map((mm) => mm.toFixed(1));
    const values = data.layers.map((layer, index) => `${layer.id} ${digits(where.values[index]?.value ?? 0)}`);
    $("location").textContent = `right ${x}, front ${y}, top ${z} mm · ${values.join(" · ")}`;
  };
  viewer.onIntensityChange = (volume) => { if (volume === scan) [low.value, high.value] = [digits(scan.cal_min), digits(scan.cal_max)]; };
  viewer.createOnLocationChange();

  const keys = {
    m: () => toggle("mask"), p: () => toggle("probability"),
    ArrowUp: () => move(0, 0, 1), ArrowDown: () => move(0, 0, -1),
    ArrowLeft: () => move(1, 0, 0), ArrowRight: () => move(-1, 0, 0), // the patient's right is on the left
    PageUp: () => move(0, 1, 0), PageDown: () => move(0, -1, 0),
  };
  ["multi", "axial", "coronal", "sagittal", "render"].forEach((type, index) => { keys[index + 1] = () => { $("type").value = type; setType(); }; });
  const move = (x, y, z) => viewer.moveCrosshairInVox(x, y, z);
  document.addEventListener("keydown", (event) => {
    if (event.target.matches("input, select") || event.ctrlKey || event.metaKey || event.altKey || !keys[event.key]) return;
    event.preventDefault();
    event.stopImmediatePropagation(); // the library has keys of its own
    keys[event.key]();
  }, true);
  $("controls").addEventListener("submit", (event) => event.preventDefault());
  setType();
  status.textContent = "";
  document.body.dataset.ready = "true";
})();
