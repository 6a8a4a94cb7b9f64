// Lets the browser paint the page before the page begins to work.

requestAnimationFrame(() => setTimeout(() => import("/page/app.js")));
