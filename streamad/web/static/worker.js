// Shows alerts on this device, also while no page is open. It keeps no pages: those always come from the server.

self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

// What the server sends: streamad/alerts/sinks/webpush.py. One event has one notification, which its changes replace.
self.addEventListener("push", (event) => {
  const { title, body, tag, at, again, open } = event.data.json();
  event.waitUntil(show(title, { body, tag, timestamp: at, renotify: again, data: { open } }));
});

self.addEventListener("pushsubscriptionchange", (event) => event.waitUntil(show("This device is no longer told about alerts", {
  body: "The browser has ended it. Open the page, and turn it on again under your name.", tag: "streamad", data: { open: "#/wall" },
})));

self.addEventListener("notificationclick", (event) => {
  event.notification.close();
  event.waitUntil(lead(event.notification.data.open));
});

function show(title, options) {
  return self.registration.showNotification(title, { icon: "/static/current/icon-192.png", ...options });
}

async function lead(place) {
  const pages = await self.clients.matchAll({ type: "window", includeUncontrolled: true });
  const page = pages.find((one) => new URL(one.url).pathname === "/");
  if (!page) return self.clients.openWindow("/" + place);
  page.postMessage({ open: place });
  return page.focus();
}
